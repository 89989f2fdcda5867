select
    p.pool_id, p.name, p.description, p.rule, p.created_at, p.archived_at,
    (
        select count(*)
        from pool_membership m
        where m.pool_id = p.pool_id and m.joined_at <= $as_of and (m.left_at is null or $as_of < m.left_at)
    ) as size
from pii.pools p
where $name::varchar is null or lower(trim(p.name)) = lower(trim($name))
order by p.archived_at is not null, lower(p.name), p.pool_id
