-- The highest scores by the model of this connection, beside those of the model in force (`ranked_before`).
with
scored as (
    select
        canonical_id,
        sum(points * pow(2, (epoch(occurred_at) - epoch($as_of)) / 86400 / model.half_life_days))
            filter (counted) as raw
    from engagement_score
    cross join ops.engagement_model model
    where occurred_at <= $as_of and canonical_id not in (
        select canonical_id
        from gdpr_audit
        where status = 'restricted' and valid_from <= $as_of and (valid_to is null or $as_of < valid_to)
    )
    group by canonical_id
),
ranked as (
    select canonical_id, raw, rank() over (order by raw desc) as rank
    from scored
    where raw is not null
    qualify rank <= $limit
)
select
    ranked.canonical_id, profile.first_name, profile.last_name,
    ranked.rank,
    greatest(0, 100 * (1 - exp(-ranked.raw / model.saturation_points))) as score,
    ranked_before.rank as rank_now,
    greatest(0, 100 * (1 - exp(-ranked_before.raw / now_.saturation_points))) as score_now
from ranked
cross join ops.engagement_model model
cross join engagement_model_before now_
left join ranked_before using (canonical_id)
left join pii.profile profile using (canonical_id)
order by ranked.rank, ranked.canonical_id
limit $limit
