create or replace temp table scope_persons (canonical_id varchar);
create or replace temp table scope_pools (pool_id varchar);
create or replace temp table scope_usable as from pii.usable limit 0;
