select coalesce(min(number), $blocks) as number from ops.tree where height = 8 and last_seq >= $seq
