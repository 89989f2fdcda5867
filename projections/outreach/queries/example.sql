-- Hours until a person opened, by template.
select template, count(*) as sent, median(date_sub('minute', sent_at, human_opened_at)) / 60 as median_hours
from outreach
where tracked
group by template
order by sent desc
