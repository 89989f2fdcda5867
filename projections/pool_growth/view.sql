with
change as (
    select pool_id, make_timestamp(epoch_us(joined_at))::date as day, 1 as step
    from pool_membership
    where joined_at <= as_of()
    union all
    select pool_id, make_timestamp(epoch_us(left_at))::date, -1
    from pool_membership
    where left_at <= as_of()
),
by_day as (
    select pool_id, day, count(*) filter (step = 1) as joined, count(*) filter (step = -1) as departed
    from change
    group by pool_id, day
)
select
    pool_id, day, joined, departed,
    (sum(joined - departed) over (partition by pool_id order by day))::bigint as members,
    departed / nullif(members - joined + departed, 0) as churn
from by_day
