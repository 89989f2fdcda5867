-- By id alone, for then DuckDB finds the rows by index.
select replace(id::varchar, '-', '') as id, seq, version
from pii.events
where id in (select unnest($ids::uuid[]))
order by seq
