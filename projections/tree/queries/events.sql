-- The stored events of some records, for evidence about them.
select seq, replace(id::varchar, '-', '') as id, version, type, recorded_at, hash, body
from pii.events
where kind = 'candidate' and odd_id is null and id in (select unnest($ids::uuid[]))
    and recorded_at <= coalesce($known_at, recorded_at)
order by seq
