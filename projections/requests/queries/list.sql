-- Most urgent first. A page goes on behind the row of `after_due_at` and `after_seq`.
select *
from requests
where (len($states) = 0 or state in (select unnest($states)))
    and ($asks_for::varchar is null or asks_for = $asks_for)
    and ($canonical_id::uuid is null or canonical_id = $canonical_id)
    and ($after_seq::bigint is null or (due_at, received_seq) > ($after_due_at::timestamptz, $after_seq::bigint))
order by due_at, received_seq
limit $limit
