-- Everything there is.
create or replace temp table scope_persons (canonical_id uuid);
create or replace temp view scope_rows as from scope_columns;
create or replace temp view scope_pools as select distinct id as pool_id from scope_rows where kind = 'pool';
