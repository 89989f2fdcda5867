-- The sources of this year's people.
select source, sum(sourced) as sourced, sum(applied) as applied, sum(hired) as hired
from source_results
where month >= date '2026-01-01'
group by source
order by hired desc
