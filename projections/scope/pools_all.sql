create or replace temp view scope_pools as select pool_id from pii.pools
