select
    canonical_id,
    len(list_filter(touched, lambda at_: at_ > as_of() - to_days(30))) as touches_30d,
    (epoch_us(as_of()) - epoch_us(touched[-1])) // 86_400_000_000 as days_since_last_touch,
    (epoch_us(as_of()) - epoch_us(list_filter(acted_at, lambda at_: at_ <= as_of())[-1]))
        // 86_400_000_000 as days_since_last_act,
    touches_30d > (select max_touches_30d from thresholds) as over_limit
from (
    select canonical_id, acted_at, list_filter(touched_at, lambda at_: at_ <= as_of()) as touched
    from journey
    where first_seen_at <= as_of()
)
