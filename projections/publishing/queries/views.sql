-- In the order in which they were created: each after those it rests on.
select view_name, sql
from duckdb_views()
where database_name = current_database() and schema_name = 'main' and not internal
order by view_oid
