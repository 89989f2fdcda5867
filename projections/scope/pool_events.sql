create or replace temp view scope_pool_events as
from scope_usable where kind = 'pool' and not waits and id in (select pool_id from scope_pools)
