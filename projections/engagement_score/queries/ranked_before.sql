create or replace temp table ranked_before as
select canonical_id, raw, rank() over (order by raw desc) as rank
from (
    select
        canonical_id,
        sum(points * pow(2, (epoch(occurred_at) - epoch($as_of::timestamptz)) / 86400 / model.half_life_days))
            filter (counted) as raw
    from engagement_score
    cross join ops.engagement_model model
    where occurred_at <= $as_of and canonical_id not in (
        select canonical_id
        from gdpr_audit
        where status = 'restricted' and valid_from <= $as_of and (valid_to is null or $as_of < valid_to)
    )
    group by canonical_id
)
where raw is not null
