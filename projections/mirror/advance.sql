update ops.checkpoint
set seq = (select max(seq) from batch), events = events + (select count(*) from batch)
