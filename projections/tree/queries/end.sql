select count(*) as blocks, coalesce(max(last_seq), 0) as last_seq from ops.tree where height = 8
