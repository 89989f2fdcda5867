select
    m.canonical_id, m.joined_at, m.left_at, m.joined_seq,
    p.first_name, p.last_name, p.headline, p.employer, p.location, p.last_interaction_at
from pool_membership m
left join pii.profile p using (canonical_id)
where m.pool_id = $pool_id and m.joined_at <= $as_of and (m.left_at is null or $as_of < m.left_at)
order by lower(p.last_name), lower(p.first_name), m.canonical_id
