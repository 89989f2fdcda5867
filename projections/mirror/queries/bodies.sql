select seq, kind || '-' || id as name, epoch_us(recorded_at) as recorded_at_us, hash, body
from main.events
where seq > $after and seq <= $until
order by seq
