-- What DuckDB itself says of its functions. An aggregate or window function reads the rows it is given.
select distinct function_name
from duckdb_functions()
where database_name = 'system'
  and schema_name = 'main'
  and function_type in ('scalar', 'aggregate', 'window', 'macro')
  and (stability = 'CONSISTENT' or function_type = 'macro')
