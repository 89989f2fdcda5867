-- The dead letters among these places, with the bytes that the mirror took from the ledger.
select seq, kind || '-' || coalesce(odd_id, replace(e.id::varchar, '-', '')) as name, body
from ops.dead_letters
join pii.events e using (seq)
where $seqs is null or seq in (select unnest($seqs))
order by seq
