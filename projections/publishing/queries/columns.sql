-- The stored tables of schema main, a row a column.
select c.table_name, c.column_name, c.data_type
from duckdb_columns() c
join duckdb_tables() t on t.database_name = c.database_name and t.table_oid = c.table_oid
where c.database_name = current_database() and c.schema_name = 'main' and not t.internal
    and not ends_with(t.table_name, '__next')
order by c.table_name, c.column_index
