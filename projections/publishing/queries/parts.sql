-- The mirror by day of recording (UTC) and shard: the first two hex digits of the id, in ranges of equal size.
select
    (recorded_at at time zone 'UTC')::date as day,
    printf('%02x', greatest(0, 16 * (strpos('0123456789abcdef', left(id::varchar, 1)) - 1)
        + strpos('0123456789abcdef', substr(id::varchar, 2, 1)) - 1) // $width * $width) as shard,
    count(*) as events,
    max(seq) as last_seq
from events
where seq <= $until
group by all
order by all
