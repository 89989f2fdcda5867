select seq, kind || '-' || coalesce(odd_id, replace(id::varchar, '-', '')) as name, epoch_us(recorded_at) as recorded_at_us, hash, body
from pii.events
where seq > $after and seq <= $until
order by seq
