-- Where nobody was erased or purged whose data the file had, it needs no writing anew.
select
    if(
        exists(from ops.erased where greatest(if(was_here, erased.seq, 0), coalesce(purged_seq, 0)) > rewritten.seq),
        rewritten.seq, checkpoint.views_seq
    )
from ops.rewritten rewritten, ops.checkpoint checkpoint
