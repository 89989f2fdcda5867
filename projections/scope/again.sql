-- Events that waited behind a broken one count as new, with it.
create or replace temp table scope_new as
select kind, id, type, target_id, occurred_at
from pii.events
where id in (select coalesce(try_cast(id as uuid), md5(id)::uuid) from batch)
