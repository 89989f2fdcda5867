-- The skills that most people have now.
select value, count(*) as people
from pii.facts
where attribute = 'skill' and valid_to is null
group by value
order by people desc
limit 20
