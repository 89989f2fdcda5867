select schema_name, table_name as name
from duckdb_tables()
where database_name = current_database() and not internal
union all
select schema_name, view_name
from duckdb_views()
where database_name = current_database() and not internal
