-- What a batch affects, so far nothing.
create or replace temp table scope_new (kind varchar, id uuid, type varchar, target_id uuid, occurred_at timestamptz);
create or replace temp table scope_records (candidate_id uuid, old_id uuid);
create or replace temp table scope_persons (canonical_id uuid);
create or replace temp view scope_pools as select pool_id from pii.pools;
create or replace temp table scope_rows as from scope_columns with no data;
