select c.seq as checkpoint, c.events, e.rows, e.last_seq
from ops.checkpoint c, (select count(*) as rows, coalesce(max(seq), 0) as last_seq from main.events) e
