-- Who is erased by this batch, and of their events, this batch's among them, all that is personal.
insert into ops.erased
select
    last.id, last.seq, try_cast(e.matter ->> '$.erasure' as uuid),
    exists(from pii.events other where other.id = last.id and other.fields is not null)
from (
    select coalesce(try_cast(id as uuid), md5(id)::uuid) as id, max(seq) as seq
    from batch
    where type = 'erased' and problem is null
    group by all
) last
join pii.events e using (seq)
where last.id not in (select id from ops.erased);
update pii.events
set actor = null, interaction = null, message = null, url = null, tag = null, location = null, role_family = null,
    skills = null, identifiers = null, first_name = null, last_name = null, headline = null, employer = null,
    name = null, description = null, fields = null
where id in (select id from ops.erased where seq >= (select min(seq) from batch));
