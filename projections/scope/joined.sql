-- Usable events of those who were not erased. `waits`: behind an event of the same aggregate that is broken.
create or replace temp view scope_joined as
select e.*, coalesce(e.seq > broken.first_seq, false) as waits
from scope_rows e
left join ops.broken broken on broken.id = e.id
where e.occurred_at is not null and e.seq not in (select seq from ops.dead_letters)
    and e.id not in (select id from ops.erased)
