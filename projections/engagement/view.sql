with
counted as (
    select
        canonical_id,
        sum(points * pow(2, -(epoch_us(as_of()) - epoch_us(occurred_at)) / 864e8 / model.half_life_days)) as raw,
        max(occurred_at) filter (points > 0) as last_engaged_at
    from engagement_score
    cross join engagement_model model
    where counted and occurred_at <= as_of()
    group by canonical_id
),
dead as (
    select canonical_id
    from engagement_score
    where hard_bounce and occurred_at <= as_of() and (cleared_at is null or cleared_at > as_of())
),
-- Data that is stored and not used (Art. 18 GDPR).
restricted as (
    select canonical_id
    from gdpr_audit
    where status = 'restricted' and valid_from <= as_of() and (valid_to is null or as_of() < valid_to)
),
-- The row for email decides where there is one, else the row for any channel.
opted_out as (
    select canonical_id
    from gdpr_audit
    where purpose = 'recruiting' and channel in ('email', '*')
        and valid_from <= as_of() and (valid_to is null or as_of() < valid_to)
    group by canonical_id
    having coalesce(
        bool_or(status = 'opted_out') filter (channel = 'email'),
        bool_or(status = 'opted_out') filter (channel = '*'))
)
select
    canonical_id,
    greatest(0, 100 * (1 - exp(-coalesce(raw, 0) / model.saturation_points))) as score,
    coalesce(raw, 0) as raw,
    last_engaged_at,
    last_engaged_at is null as never_engaged,
    canonical_id in (from opted_out) as opted_out,
    canonical_id in (from dead) as hard_bounced,
    model.version as model
from journey
cross join engagement_model model
left join counted using (canonical_id)
where first_seen_at <= as_of() and canonical_id not in (from restricted)
