select schema_name, table_name
from duckdb_tables()
where database_name = current_database() and ends_with(table_name, '__next')
