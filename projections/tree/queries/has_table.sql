select 1 from duckdb_tables() where database_name = current_database() and schema_name = 'ops' and table_name = 'tree'
