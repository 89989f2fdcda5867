select seq, kind || '-' || coalesce(odd_id, replace(id::varchar, '-', '')) as name, coalesce(version, 0) as version, coalesce(type, '') as type,
    epoch_us(recorded_at) as recorded_at_us, coalesce(hash, ''::blob) as hash,
    coalesce(unhex(sha256(body)) = hash, false) as intact, body is null as is_bare
from pii.events
where seq > $after and seq <= $until
order by seq
