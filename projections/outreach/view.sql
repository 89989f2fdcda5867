with
sending as materialized (
    select canonical_id, seq, id as candidate_id, occurred_at, moment, channel, purpose, campaign, template, message,
        epoch_us(occurred_at) as at_us
    from scope_events
    where type in ('emailed', 'messaged')
),
consequence as (
    -- Two messages of one name to one person: each is answered for until the next is sent. Clocks differ: what is dated
    -- before the first sending is about that.
    select
        arg_max(s.seq, if(s.moment <= h.moment, s.moment, -s.moment - (1::hugeint << 125))) as seq,
        any_value(h.type) as type, any_value(h.moment) as moment, any_value(h.occurred_at) as occurred_at,
        any_value(h.bounce_kind) as bounce_kind
    from (
        select canonical_id, seq, type, moment, occurred_at, bounce_kind, message
        from scope_events
        where type in ('delivered', 'bounced')
            or seq in (
                select seq from engagement_score
                where type in ('opened', 'clicked') and human and reason <> 'no tracking basis'
                    and canonical_id in (select canonical_id from scope_persons))
    ) h
    join sending s on s.canonical_id = h.canonical_id and s.message = h.message
    group by h.seq
    union all
    select arg_max(s.seq, (coalesce(s.message = h.message, false), s.moment)),
        h.type, h.moment, h.occurred_at, null
    from scope_events h
    join sending s
        on s.canonical_id = h.canonical_id and s.moment < h.moment
        and (s.message = h.message
            or epoch_us(h.occurred_at) - s.at_us <= 30 * 86_400_000_000
                and coalesce(h.channel, s.channel) is not distinct from s.channel
                and coalesce(h.purpose, s.purpose) is not distinct from s.purpose)
    where h.type in ('replied', 'complained', 'opted_out')
    group by h.seq, h.type, h.moment, h.occurred_at
    union all
    -- The row for the channel decides where there is one, else the row for any channel.
    select s.seq, 'tracked', null, null, null
    from sending s
    join gdpr_audit g
        on g.canonical_id = s.canonical_id and g.purpose = 'open_tracking' and g.channel in (s.channel, '*')
        and g.valid_from <= s.occurred_at and (g.valid_to is null or s.occurred_at < g.valid_to)
    group by s.seq
    having arg_max(g.contactable, g.channel)
),
outcome as (
    select
        seq,
        bool_or(type = 'tracked') as tracked,
        min(occurred_at) filter (type = 'delivered') as delivered_at,
        min(occurred_at) filter (type = 'bounced') as bounced_at,
        arg_min(bounce_kind, moment) filter (type = 'bounced') as bounce_kind,
        min(occurred_at) filter (type = 'opened') as human_opened_at,
        min(occurred_at) filter (type = 'clicked') as clicked_at,
        min(occurred_at) filter (type = 'replied') as replied_at,
        min(occurred_at) filter (type = 'complained') as complained_at,
        min(occurred_at) filter (type = 'opted_out') as opted_out_at
    from consequence
    group by seq
),
origin as (
    select canonical_id, arg_min_null(source, moment) as source, min(moment) as moment
    from scope_events
    where type = 'sourced'
    group by canonical_id
)
select
    s.seq, s.canonical_id, s.candidate_id, s.occurred_at as sent_at, s.campaign, s.channel, s.template, s.purpose,
    if(origin.moment <= s.moment, origin.source, null) as source, coalesce(o.tracked, false) as tracked,
    o.delivered_at, o.bounced_at, o.bounce_kind, o.human_opened_at, o.clicked_at, o.replied_at, o.complained_at,
    o.opted_out_at
from sending s
left join outcome o using (seq)
left join origin on origin.canonical_id = s.canonical_id
