select
    campaign, channel, source,
    date_trunc('month', make_timestamp(epoch_us(sent_at)))::date as month,
    count(*) as sent,
    count(delivered_at) as delivered,
    count(bounced_at) as bounced,
    count(*) filter (tracked) as tracked,
    count(human_opened_at) as human_opens,
    count(human_opened_at) filter (tracked) / nullif(count(*) filter (tracked), 0) as open_rate,
    count(clicked_at) as clicks,
    count(replied_at) as replies,
    count(opted_out_at) as opt_outs,
    count(complained_at) as complaints
from outreach
group by campaign, channel, source, month
