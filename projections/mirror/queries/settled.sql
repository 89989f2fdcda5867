-- What was purged and of which the mirror holds no more than the ledger: named with the hash that the row has, and no body.
with
named as materialized (
    from ops.purged(0)
),
held as materialized (
    select id, seq, hash, body is null as is_bare from pii.events where id in (select distinct id from named)
)
select distinct seq
from named
join held using (id, seq, hash)
where is_bare
order by seq
