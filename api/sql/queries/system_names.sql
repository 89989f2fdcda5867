-- Views of DuckDB's own that a bare name finds.
select lower(view_name) from duckdb_views() where internal and schema_name in ('main', 'pg_catalog')
union
select lower(table_name) from duckdb_tables() where internal and schema_name in ('main', 'pg_catalog')
