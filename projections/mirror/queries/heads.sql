-- By id alone, for then DuckDB finds the rows by index: with a second filter it looks through the whole table.
select
    kind || '-' || coalesce(odd_id, replace(id::varchar, '-', '')) as name,
    max(version) filter (seq <= coalesce($until, seq)) as version
from pii.events
where id in (select unnest($ids::uuid[]))
group by all
