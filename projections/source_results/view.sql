select
    source,
    date_trunc('month', make_timestamp(epoch_us(sourced_at)))::date as month,
    count(*) as sourced,
    count(first_contact_at) as contacted,
    count(first_reply_at) as replied,
    count(first_applied_at) as applied,
    count(hired_at) as hired,
    contacted / sourced as contact_rate,
    replied / sourced as reply_rate,
    applied / sourced as application_rate,
    hired / sourced as hire_rate
from journey
where sourced_at is not null
group by source, month
