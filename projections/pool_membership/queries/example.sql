-- How many were in each pool on 1 March.
select pool_id, count(*) as members
from pool_membership
where joined_at <= '2026-03-01 00:00:00+00' and (left_at is null or left_at > '2026-03-01 00:00:00+00')
group by pool_id
