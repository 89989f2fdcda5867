select
    source,
    date_trunc('month', make_timestamp(epoch_us(sourced_at)))::date as month,
    count(*) as sourced,
    count(*) filter (first_contact_at <= as_of()) as contacted,
    count(*) filter (first_reply_at <= as_of()) as replied,
    count(*) filter (first_applied_at <= as_of()) as applied,
    count(*) filter (hired_at <= as_of()) as hired,
    contacted / sourced as contact_rate,
    replied / sourced as reply_rate,
    applied / sourced as application_rate,
    hired / sourced as hire_rate
from journey
where sourced_at <= as_of()
group by source, month
