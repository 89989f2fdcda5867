with
weight as (
    select unnest(map_entries(weight_points), recursive := true) from ops.engagement_model
),
act as (
    select
        canonical_id, id as candidate_id, seq, occurred_at, type, channel, campaign, machine, bounce_kind,
        message, url, coalesce(weight.value, 0) as points
    from scope_events e
    left join weight on weight.key = e.type
    where weight.key is not null
        or e.type in ('opened', 'clicked', 'replied', 'event_attended', 'bounced', 'complained')
),
touch as (
    from act where type in ('opened', 'clicked')
),
early as (
    select distinct touch.seq
    from touch
    join scope_events sent
        on sent.canonical_id = touch.canonical_id
        and sent.message = touch.message
        and sent.type in ('emailed', 'messaged', 'delivered')
        and sent.occurred_at <= touch.occurred_at
    cross join ops.engagement_model model
    where touch.occurred_at < sent.occurred_at + to_microseconds((model.machine_within_s * 1e6)::bigint)
),
-- The row for email decides where there is one, else the row for any channel.
tracked as (
    select touch.seq
    from touch
    join gdpr_audit g
        on g.canonical_id = touch.canonical_id
        and g.purpose = 'open_tracking'
        and g.channel in ('email', '*')
        and g.valid_from <= touch.occurred_at
        and (g.valid_to is null or touch.occurred_at < g.valid_to)
    where touch.type = 'opened'
    group by touch.seq
    having coalesce(
        bool_or(g.contactable) filter (g.channel = 'email'),
        bool_or(g.contactable) filter (g.channel = '*'))
),
judged as (
    select
        touch.*,
        case
            when machine then 'machine: provider says so'
            when early.seq is not null then 'machine: within ' || model.machine_within_s::integer || ' s of sending'
            when machine is null then 'unknown'
            when type = 'opened' and tracked.seq is null then 'no tracking basis'
        end as objection
    from touch
    cross join ops.engagement_model model
    left join early using (seq)
    left join tracked using (seq)
),
ranked as (
    select
        *,
        -- Without a message or link nothing says that two are the same: each is a part of its own.
        row_number() over (
            partition by
                canonical_id, type, message, if(type = 'clicked', url, null),
                if(message is null or (type = 'clicked' and url is null), seq, null)
            order by occurred_at, seq
        ) as nth
    from judged
    where objection is null
),
cleared as (
    select bounce.seq, min(sign.occurred_at) as cleared_at
    from act bounce
    join scope_events sign
        on sign.canonical_id = bounce.canonical_id
        and sign.type in ('delivered', 'opened', 'clicked', 'replied')
        and (sign.occurred_at, sign.seq) > (bounce.occurred_at, bounce.seq)
    where bounce.bounce_kind = 'hard'
    group by bounce.seq
)
select
    act.canonical_id, act.candidate_id, act.seq, act.occurred_at, act.type, act.channel, act.campaign,
    act.points,
    judged.objection is null and coalesce(ranked.nth, 1) = 1 as counted,
    coalesce(judged.objection = 'no tracking basis' or judged.objection is null, true)
        and act.type <> 'bounced' as human,
    case
        when judged.objection is not null then judged.objection
        when ranked.nth > 1 and act.type = 'opened' then 'repeated open of one message'
        when ranked.nth > 1 then 'repeated click of one link'
        when act.type = 'bounced' then 'bounce'
        else 'human'
    end as reason,
    coalesce(act.bounce_kind = 'hard', false) as hard_bounce,
    cleared.cleared_at
from act
left join judged using (seq)
left join ranked using (seq)
left join cleared using (seq)
