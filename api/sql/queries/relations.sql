-- Tables that are being built are nobody's to read.
select schema_name, table_name as name
from duckdb_tables()
where database_name = current_database() and not internal and not ends_with(table_name, '__next')
union all
select schema_name, view_name
from duckdb_views()
where database_name = current_database() and not internal
