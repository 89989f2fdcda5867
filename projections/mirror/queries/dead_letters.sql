select d.seq, e.kind, d.id, d.version, e.type, d.problem, d.noticed_at,
    (select count(*) from pii.events w where w.id = d.id and w.seq > d.seq) as waiting
from ops.dead_letters d
join pii.events e using (seq)
order by d.seq
