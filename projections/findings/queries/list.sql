-- What was found, the gravest kind first, from behind the finding of $after_kind and $after_seq; how many there are in
-- all. Where there is none left, one row without a kind has that number.
with
found as materialized (
    select f.*, k.place
    from findings f
    join finding_kinds k using (kind)
    where ($kind is null or f.kind = $kind) and ($canonical_id is null or f.canonical_id = $canonical_id::uuid)
),
page as (
    from found
    where $after_kind is null
        or (place, seq) > ((select place from finding_kinds where kind = $after_kind), $after_seq::bigint)
    order by place, seq
    limit $limit
)
select page.* exclude (place), total
from (select count(*) as total from found)
left join page on true
order by page.place, page.seq
