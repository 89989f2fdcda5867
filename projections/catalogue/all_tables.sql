select database_name, schema_name, table_name from duckdb_tables()
