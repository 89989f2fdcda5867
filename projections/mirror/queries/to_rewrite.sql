select count(*) > 0
from ops.erased
where greatest(if(was_here, seq, 0), coalesce(purged_seq, 0)) > (select seq from ops.rewritten)
