select schema_name, 'table' as kind, table_name
from duckdb_tables()
where database_name = current_database() and table_name in (select unnest($names)) and schema_name in ('main', 'pii')
union all
select schema_name, 'view', view_name
from duckdb_views()
where database_name = current_database() and view_name in (select unnest($names)) and schema_name in ('main', 'pii')
