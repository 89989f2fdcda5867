-- Where nobody was erased whose data the file had, it needs no writing anew.
select if(exists(from ops.erased where was_here and seq > rewritten.seq), rewritten.seq, checkpoint.views_seq)
from ops.rewritten rewritten, ops.checkpoint checkpoint
