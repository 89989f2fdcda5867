-- Every table, view and macro of the schemas asked for, with what its author wrote about it.
with columns as (
    select
        schema_name,
        table_name,
        list({'name': column_name, 'type': data_type, 'comment': comment} order by column_index) as columns
    from duckdb_columns()
    where database_name = current_database() and not internal
    group by all
),
relations as (
    select schema_name, table_name as name, 'table' as kind, comment
    from duckdb_tables()
    where database_name = current_database() and not internal and not ends_with(table_name, '__next')
    union all
    select schema_name, view_name, 'view', comment
    from duckdb_views()
    where database_name = current_database() and not internal
),
described as (
    select r.schema_name as schema, r.name, r.kind, r.comment, c.columns, null::varchar[] as parameters
    from relations r
    left join columns c on c.schema_name = r.schema_name and c.table_name = r.name
    union all
    select
        schema_name,
        function_name,
        if(function_type = 'table_macro', 'table macro', 'macro'),
        comment,
        null,
        parameters
    from duckdb_functions()
    where database_name = current_database() and not internal
)
select schema, name, kind, comment, columns, parameters
from described
where schema in (select unnest($schemas))
  and ($name is null or lower(name) = lower($name) or lower(schema || '.' || name) = lower($name))
order by schema <> 'main', schema, kind, name
