create or replace temp table scope_pools as select pool_id from pii.pools;
