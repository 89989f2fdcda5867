create or replace temp table scope_persons (canonical_id varchar);
create or replace temp table scope_pools (pool_id varchar);
create or replace temp table scope_rows as from main.events limit 0;
create or replace temp table scope_personal as from pii.events limit 0;
