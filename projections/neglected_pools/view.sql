select
    pool_id,
    count(*) as members,
    max(touched_at) as last_touch_at,
    (epoch_us(as_of()) - epoch_us(coalesce(max(touched_at), min(joined_at)))) // 86_400_000_000 as days,
    days >= (select neglected_days from thresholds) as neglected
from (
    select m.pool_id, m.joined_at,
        list_filter(j.touched_at, lambda at_: at_ >= m.joined_at and at_ <= as_of())[-1] as touched_at
    from pool_membership m
    left join journey j using (canonical_id)
    where m.joined_at <= as_of() and (m.left_at is null or as_of() < m.left_at)
)
group by pool_id
