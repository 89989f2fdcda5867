insert into ops.known_gaps values ($first, $last, $reason, now())
