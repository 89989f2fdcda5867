select view_name, sql
from duckdb_views()
where database_name = current_database() and schema_name = 'main' and not internal
order by view_name  -- a file that was opened again does not know in which order they were made
