select c.seq, e.recorded_at
from ops.checkpoint c
join pii.events e on e.seq = c.seq
