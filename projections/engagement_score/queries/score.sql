-- Scores as of a time, of one person or of all there are whose data may be used (Art. 18 GDPR); of these from behind
-- $after on, in the ranking of that time.
with
restricted as materialized (
    select distinct canonical_id
    from gdpr_audit
    where status = 'restricted' and valid_from <= $as_of and (valid_to is null or $as_of < valid_to)
),
-- Found among narrow rows; what else is shown is looked up for these alone. Scores rise with raw.
ranked as (
    select canonical_id, round(coalesce(raw, 0), 9) as raw -- in whatever order it was added up
    from (
        select distinct canonical_id
        from identity
        where canonical_id = $canonical_id::uuid
            or ($canonical_id::uuid is null and canonical_id not in (select canonical_id from restricted))
    ) person
    left join (
        select
            canonical_id,
            sum(points * pow(2, -(epoch_us($as_of::timestamptz) - epoch_us(occurred_at)) / 864e8 / model.half_life_days))
                as raw
        from engagement_score
        cross join ops.engagement_model model
        where counted
            and occurred_at <= $as_of::timestamptz
            and ($canonical_id::uuid is null or canonical_id = $canonical_id::uuid)
        group by canonical_id
    ) counted using (canonical_id)
),
last_seen as (select raw from ranked where canonical_id = $after::uuid),
best as materialized (
    select canonical_id, raw
    from ranked
    where $after::uuid is null
        or raw < (from last_seen)
        or (raw = (from last_seen) and canonical_id > $after::uuid)
    order by raw desc, canonical_id
    limit $limit
),
acted as (
    select
        canonical_id,
        max(occurred_at) filter (counted and points > 0) as last_engaged_at,
        count(*) filter (counted) as contributions,
        max(seq) as ceiling_seq,
        bool_or(hard_bounce and (cleared_at is null or cleared_at > $as_of)) as hard_bounced
    from engagement_score
    where occurred_at <= $as_of
        and canonical_id in (select canonical_id from best)
        and ($canonical_id::uuid is null or canonical_id = $canonical_id::uuid)
    group by canonical_id
),
-- The row for email decides where there is one, else the row for any channel.
opted_out as (
    select canonical_id
    from gdpr_audit
    where purpose = 'recruiting'
        and channel in ('email', '*')
        and valid_from <= $as_of and (valid_to is null or $as_of < valid_to)
        and canonical_id in (select canonical_id from best)
    group by canonical_id
    having coalesce(
        bool_or(status = 'opted_out') filter (channel = 'email'),
        bool_or(status = 'opted_out') filter (channel = '*'))
)
select
    best.canonical_id,
    profile.first_name,
    profile.last_name,
    greatest(0, 100 * (1 - exp(-best.raw / model.saturation_points))) as score,
    best.raw,
    last_engaged_at is null as never_engaged,
    last_engaged_at,
    coalesce(contributions, 0) as contributions,
    case
        when best.canonical_id in (select canonical_id from restricted) then 'restricted'
        when opted_out.canonical_id is not null then 'opted_out'
        when hard_bounced then 'hard_bounced'
    end as flag,
    opted_out.canonical_id is not null as opted_out,
    coalesce(hard_bounced, false) as hard_bounced,
    model.version as model,
    ceiling_seq,
    $as_of as as_of
from best
cross join ops.engagement_model model
left join acted using (canonical_id)
left join opted_out using (canonical_id)
left join pii.profile profile using (canonical_id)
order by best.raw desc, best.canonical_id
