-- Everything that is named as purged; of what was named twice, by the first.
select seq, 'candidate-' || replace(id::varchar, '-', '') as name, hash from ops.purged(0) order by named_at desc
