select first_seq, last_seq from ops.known_gaps order by first_seq
