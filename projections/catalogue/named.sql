select schema_name, 'table' as kind
from duckdb_tables()
where database_name = current_database() and table_name = $name and schema_name in ('main', 'pii')
union all
select schema_name, 'view'
from duckdb_views()
where database_name = current_database() and view_name = $name and schema_name in ('main', 'pii')
