with
act as (
    select
        e.canonical_id, e.id as candidate_id, e.seq, e.occurred_at, e.moment, e.type, e.channel, e.campaign, e.machine,
        e.message, e.url, e.bounce_kind,
        coalesce(weight.points, 0) as points, weight.type is not null as scores
    from scope_events e
    left join (
        select unnest(map_keys(weight_points)) as type, unnest(map_values(weight_points)) as points
        from ops.engagement_model
    ) weight using (type)
    where (
            e.type in (
                'opened', 'clicked', 'replied', 'event_attended', 'applied', 'preferences_updated', 'bounced',
                'complained', 'emailed', 'opted_out', 'opted_in', 'consent_given', 'consent_withdrawn')
            or e.actor_kind = 'candidate'
        )
        -- What we did is here only when it is worth something.
        and (e.type <> 'emailed' or weight.points <> 0)
),
touch as (
    from act where type in ('opened', 'clicked')
),
early as (
    select touch.seq
    from touch
    join scope_events sent
        on sent.canonical_id = touch.canonical_id
        and sent.message = touch.message
        and sent.occurred_at <= touch.occurred_at
    cross join ops.engagement_model model
    where sent.type in ('emailed', 'messaged', 'delivered')
        and touch.occurred_at < sent.occurred_at + to_microseconds((model.machine_within_s * 1e6)::bigint)
),
-- Nobody follows three links of one message within two seconds: a scanner does.
burst as (
    select seq
    from act
    where type = 'clicked' and message is not null and url is not null
    qualify count(distinct url) over (
        partition by canonical_id, message
        order by occurred_at range between interval 2 seconds preceding and interval 2 seconds following
    ) >= 3
),
-- The row for email decides where there is one, else the row for any channel.
tracked as (
    select touch.seq
    from touch
    join gdpr_audit g
        on g.canonical_id = touch.canonical_id
        and g.valid_from <= touch.occurred_at
        and (g.valid_to is null or touch.occurred_at < g.valid_to)
    where touch.type = 'opened' and g.purpose = 'open_tracking' and g.channel in ('email', '*')
    group by touch.seq
    having coalesce(
        bool_or(g.contactable) filter (g.channel = 'email'),
        bool_or(g.contactable) filter (g.channel = '*'))
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
),
judged as materialized (
    select
        touch.*,
        case
            when machine then 'machine: provider says so'
            when seq in (from early) then 'machine: within ' || model.machine_within_s::integer || ' s of sending'
            when seq in (from burst) then 'machine: 3 links of one message within 2 s'
            when machine is null then 'unknown'
            when type = 'opened' and seq not in (from tracked) then 'no tracking basis'
        end as objection,
        -- Without a message or link nothing says that two are the same.
        scores and message is not null and (type = 'opened' or url is not null) as comparable
    from touch
    cross join ops.engagement_model model
),
first as (
    select arg_min(seq, moment) as seq
    from judged
    where comparable and objection is null
    group by canonical_id, message, type, if(type = 'clicked', url, null)
),
told as materialized (
    select
        canonical_id, candidate_id, judged.seq, occurred_at, type, channel, campaign, points,
        case
            when objection like 'machine%' then 'machine'
            when objection = 'unknown' then 'unknown'
            else 'human'
        end as made_by,
        case
            when objection is not null then objection
            when not comparable or first.seq is not null then 'human'
            when type = 'opened' then 'repeated open of one message'
            else 'repeated click of one link'
        end as reason,
        scores and reason = 'human' as counted,
        false as hard_bounce,
        null as cleared_at
    from judged
    left join first using (seq)
    union all by name
    select
        act.* exclude (moment, machine, message, url, bounce_kind, scores),
        if(type in ('bounced', 'emailed'), null, 'human') as made_by,
        case
            when type = 'bounced' then 'bounce'
            when type = 'emailed' then 'ours'
            when not scores then 'no points for this'
            else 'human'
        end as reason,
        scores as counted,
        coalesce(bounce_kind = 'hard', false) as hard_bounce,
        cleared.cleared_at
    from act
    left join cleared using (seq)
    where type not in ('opened', 'clicked')
),
-- By itself, for to sort whole rows takes three times as long.
summed as (
    select
        seq,
        -- Rounded, so that it does not depend on the order in which the machine adds up.
        round(sum(points * growth) over (before rows between unbounded preceding and current row) / growth, 7) as raw,
        lag(acted_at ignore nulls) over before as previous_act_at
    from (
        select
            canonical_id, seq, occurred_at, if(counted, points, 0) as points,
            if(made_by = 'human' and type <> 'opened', occurred_at, null) as acted_at,
            pow(2, (epoch_us(occurred_at) - epoch_us(timestamptz '2035-01-01 00:00:00+00')) / 864e8 / half_life_days)
                as growth
        from told
        cross join ops.engagement_model
    )
    window before as (partition by canonical_id order by occurred_at, seq)
)
select
    canonical_id, candidate_id, seq, occurred_at, type, channel, campaign, points, counted,
    coalesce(made_by = 'human', false) as human, made_by, reason, raw, previous_act_at, hard_bounce, cleared_at
from told
join summed using (seq)
