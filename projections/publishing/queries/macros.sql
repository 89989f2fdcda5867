-- A macro with several forms has a row for each.
select
    function_name,
    function_type = 'table_macro' as gives_rows,
    list(parameters order by len(parameters)) as parameters,
    list(parameter_types order by len(parameters)) as types,
    list(macro_definition order by len(parameters)) as definitions,
    any_value(comment) as comment
from duckdb_functions()
where database_name = current_database() and schema_name = 'main' and not internal
group by function_name, gives_rows
order by min(function_oid)
