select distinct schema_name, function_name, function_type = 'table_macro' as gives_rows
from duckdb_functions()
where database_name = current_database() and not internal
