select schema_name, table_name
from duckdb_tables()
where database_name = $database and not ends_with(table_name, '__next')
union all
select schema_name, view_name
from duckdb_views()
where database_name = $database and not internal
    and (schema_name, view_name) in (('main', 'events'), ('ops', 'broken'))
