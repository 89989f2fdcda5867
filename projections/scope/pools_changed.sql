-- A pin is not here: it changes one person's membership, and records.sql names that person.
create or replace temp view scope_pools as
select distinct id as pool_id
from scope_new
where kind = 'pool' and type in ('created', 'rule_changed', 'archived')
