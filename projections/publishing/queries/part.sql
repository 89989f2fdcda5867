-- Without what `NEVER_PUBLISHED` names.
select * exclude (body)
from events
where recorded_at >= $from and recorded_at < $to
  and seq <= $until
  and greatest(0, 16 * (strpos('0123456789abcdef', left(id::varchar, 1)) - 1)
        + strpos('0123456789abcdef', substr(id::varchar, 2, 1)) - 1) // $width * $width = $shard
order by seq
