-- Part of every view's definition: a change here rebuilds them all.
create or replace view pii.usable as
select
    e.* exclude (hash, body),
    p.message, p.url, p.tag, p.location, p.role_family, p.skills, p.fields
from main.events e
left join pii.events p using (seq)
left join (select id, min(seq) as first_seq from ops.dead_letters group by id) broken on broken.id = e.id
where broken.id is null or e.seq < broken.first_seq;
