select count(*) = 3
from duckdb_tables()
where schema_name = 'ops' and table_name in ('announced', 'announced_members', 'announced_bands')
    and database_name = current_database()
