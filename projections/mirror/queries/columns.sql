-- The ledger's messages as the mirror says they were. `subject` is null unless the stored body begins with the aggregate,
-- version and type noted beside it, written as our events are: what is written otherwise has to be looked at by itself. Of a
-- row without a body it is what is noted.
-- Rows lie in order of seq. They are not sorted, which costs as much as reading them; those that an erasure has changed lie
-- behind the others.
select
    seq, epoch_us(recorded_at) as recorded_at_us,
    case when body is null or body[:octet_length(head)] = head then $prefix || '.' || kind || '.' || hex[:2] || '.' || hex end as subject,
    coalesce(hash, ''::blob) as hash, body
from (
    select
        *, encode('{"id":"' || kind || '-' || hex || '","version":' || version || ',"type":"' || type || '","state":{') as head
    from (
        select
            seq, recorded_at, version, hash, body, replace(id::varchar, '-', '') as hex,
            if(odd_id is null and regexp_full_match(kind, '[a-z]{1,40}'), kind, null) as kind,
            if(version >= 0 and regexp_full_match(type, '[a-z_]{1,40}'), type, null) as type
        from pii.events
        where seq > $after and seq <= $until
    )
)
