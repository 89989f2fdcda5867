-- Scores as of a time, of one person or of all who ever did something.
with
counted as (
    select
        canonical_id,
        sum(points * pow(2, -(epoch($as_of) - epoch(occurred_at)) / 86400 / model.half_life_days))
            filter (counted) as raw,
        max(occurred_at) filter (counted and points > 0) as last_engaged_at,
        count(*) filter (counted) as contributions,
        max(seq) as ceiling_seq,
        coalesce(bool_or(hard_bounce and (cleared_at is null or cleared_at > $as_of)), false) as hard_bounced
    from engagement_score
    cross join ops.engagement_model model
    where occurred_at <= $as_of and ($canonical_id::varchar is null or canonical_id = $canonical_id)
    group by canonical_id
),
-- The row for email decides where there is one, else the row for any channel.
opted_out as (
    select canonical_id
    from gdpr_audit
    where purpose = 'recruiting'
        and channel in ('email', '*')
        and valid_from <= $as_of and (valid_to is null or $as_of < valid_to)
        and ($canonical_id::varchar is null or canonical_id = $canonical_id)
    group by canonical_id
    having coalesce(
        bool_or(status = 'opted_out') filter (channel = 'email'),
        bool_or(status = 'opted_out') filter (channel = '*'))
)
select
    person.canonical_id,
    profile.first_name,
    profile.last_name,
    greatest(0, 100 * (1 - exp(-coalesce(raw, 0) / model.saturation_points))) as score,
    coalesce(raw, 0) as raw,
    last_engaged_at is null as never_engaged,
    last_engaged_at,
    coalesce(contributions, 0) as contributions,
    case when opted_out.canonical_id is not null then 'opted_out' when hard_bounced then 'hard_bounced' end as flag,
    opted_out.canonical_id is not null as opted_out,
    coalesce(hard_bounced, false) as hard_bounced,
    model.version as model,
    ceiling_seq,
    $as_of as as_of
from (
    select distinct canonical_id from identity
    where $canonical_id::varchar is null or canonical_id = $canonical_id
) person
cross join ops.engagement_model model
left join counted using (canonical_id)
left join opted_out using (canonical_id)
left join pii.profile profile using (canonical_id)
order by score desc, raw desc, person.canonical_id
limit $limit
