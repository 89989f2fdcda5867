select 'table' as kind, table_name as name, null as column_name, comment
from duckdb_tables()
where database_name = current_database() and schema_name = 'main' and not internal and comment is not null
    and not ends_with(table_name, '__next')
union all
select 'view', view_name, null, comment
from duckdb_views()
where database_name = current_database() and schema_name = 'main' and not internal and comment is not null
union all
select 'column', table_name, column_name, comment
from duckdb_columns()
where database_name = current_database() and schema_name = 'main' and not internal and comment is not null
    and not ends_with(table_name, '__next')
