select e.seq, e.occurred_at, e.recorded_at, e.type, e.id as pool_id, p.name as pool, e.target_id as record, e.actor
from pii.events e
left join pii.pools p on p.pool_id = e.id
where e.target_id in (select unnest($records::uuid[])) and e.kind = 'pool'
order by e.seq
