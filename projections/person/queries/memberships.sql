select m.pool_id, p.name as pool, m.joined_at, m.left_at
from pool_membership m
left join pii.pools p using (pool_id)
where m.canonical_id = $canonical_id
order by m.joined_at, m.pool_id
