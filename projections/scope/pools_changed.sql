-- A pin is not here: it changes one person's membership, and touched.sql names that person.
create or replace temp table scope_pools as
select distinct id as pool_id
from scope_new
where kind = 'pool' and type in ('created', 'rule_changed', 'archived');
