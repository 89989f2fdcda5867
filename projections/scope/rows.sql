-- The events of the records that a batch affects, and the pins that name one of them. Filters beyond the one by id come
-- afterwards: with them DuckDB looks through the whole table instead of the index.
create or replace temp table scope_rows as
from scope_columns where id in (select candidate_id from scope_records);
create or replace temp table scope_naming as
from scope_columns where target_id in (select candidate_id from scope_records);
insert into scope_rows from scope_naming where kind = 'pool';
