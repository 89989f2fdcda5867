select
    campaign, channel, source,
    date_trunc('month', make_timestamp(epoch_us(sent_at)))::date as month,
    count(*) as sent,
    count(*) filter (delivered_at <= as_of()) as delivered,
    count(*) filter (bounced_at <= as_of()) as bounced,
    count(*) filter (tracked) as tracked,
    count(*) filter (human_opened_at <= as_of()) as human_opens,
    count(*) filter (tracked and human_opened_at <= as_of()) / nullif(count(*) filter (tracked), 0) as open_rate,
    count(*) filter (clicked_at <= as_of()) as clicks,
    count(*) filter (replied_at <= as_of()) as replies,
    count(*) filter (opted_out_at <= as_of()) as opt_outs,
    count(*) filter (complained_at <= as_of()) as complaints
from outreach
where sent_at <= as_of()
group by campaign, channel, source, month
