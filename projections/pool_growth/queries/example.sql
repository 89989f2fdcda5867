-- The members of each pool at the end of each day of March: days without a change take the row before.
select day, pool_id, members
from (select unnest(generate_series(date '2026-03-01', date '2026-03-31', interval 1 day))::date as day) days
cross join (select distinct pool_id from pool_growth) pools
asof join pool_growth using (pool_id, day)
order by pool_id, day
