-- Opens, by whether they count and why.
select reason, counted, count(*) as opens from engagement_score where type = 'opened' group by all order by opens desc
