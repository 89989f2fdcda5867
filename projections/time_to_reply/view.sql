select
    source,
    date_trunc('month', make_timestamp(epoch_us(sourced_at)))::date as month,
    count(*) as people,
    count(days) as replied,
    quantile_cont(days, 0.5) as median_days,
    quantile_cont(days, 0.9) as p90_days
from (
    select
        source, sourced_at,
        case when first_reply_at >= sourced_at and first_reply_at <= as_of()
            then (epoch_us(first_reply_at) - epoch_us(sourced_at)) / 86400e6 end as days
    from journey
    where sourced_at <= as_of()
)
group by source, month
