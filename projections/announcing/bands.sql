-- How everybody's band differs from what was told. `as_of` is set before.
with scored as (
    select
        canonical_id, score,
        case when score >= $hot_from then 'hot' when score >= $warm_from then 'warm' else 'cold' end as band
    from engagement
)
select
    coalesce(scored.canonical_id, told.canonical_id) as canonical_id,
    coalesce(told.band, 'cold') as was,
    coalesce(scored.band, 'cold') as band,
    round(coalesce(scored.score, 0), 1) as score,
    (select version from engagement_model) as model
from scored
full join ops.announced_bands told using (canonical_id)
where coalesce(told.band, 'cold') <> coalesce(scored.band, 'cold')
order by canonical_id
