create or replace temp view scope_rows as from main.events;
create or replace temp view scope_personal as from pii.events;
create or replace temp table scope_persons (canonical_id varchar);
create or replace temp view scope_pools as select distinct id as pool_id from events where kind = 'pool';
