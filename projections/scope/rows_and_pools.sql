-- The events of the records that a batch affects, and those of every pool: some pool has another rule now.
create or replace temp table scope_rows as
from scope_columns
where id in (
    select candidate_id from scope_records
    union
    select id from scope_new where kind = 'pool'
    union
    select pool_id from pii.pools
)
