-- Who is erased by this batch, and of their events, this batch's among them, all that is personal. Behind the event that
-- erases a record may come others that name its bodies as purged.
insert into ops.erased by name
select
    first.id, first.seq, try_cast(e.matter ->> '$.erasure' as uuid) as erasure,
    exists(from pii.events other where other.id = first.id and other.fields is not null) as was_here
from (
    select coalesce(try_cast(id as uuid), md5(id)::uuid) as id, min(seq) as seq
    from batch
    where type = 'erased' and problem is null
    group by all
) first
join pii.events e using (seq)
where first.id not in (select id from ops.erased);
update pii.events
set actor = null, interaction = null, message = null, url = null, tag = null, location = null, role_family = null,
    skills = null, identifiers = null, first_name = null, last_name = null, headline = null, employer = null,
    name = null, description = null, fields = null, packed = null
where id in (
    select coalesce(try_cast(id as uuid), md5(id)::uuid) from batch where type = 'erased' and problem is null);
-- What it names as purged, as far as the file holds the bytes: what is left of that is what the naming event says, the same as
-- in a file that never held them.
create or replace temp table purged_named as from ops.purged((select min(seq) from batch));
create or replace temp table purged_held as
select id, seq, hash, body is not null as is_held from pii.events where id in (select distinct id from purged_named);
create or replace temp table purged_now as
select named.* from purged_named named join purged_held held using (id, seq, hash) where is_held;
update ops.erased
set purged_seq = named.named_at
from (select id, max(named_at) as named_at from purged_now group by id) named
where erased.id = named.id;
update pii.events
set version = named.version, type = named.type, recorded_at = named.recorded_at, odd_id = null, v = null,
    occurred_at = null, actor_kind = null, source = null, channel = null, purpose = null, campaign = null,
    template = null, machine = null, bounce_kind = null, event = null, job = null, stage = null, method = null,
    right_used = null, basis = null, lia = null, notice_version = null, wording_hash = null, language = null,
    expires_at = null, article = null, seniority = null, jurisdiction = null, target_id = null, correlation = null,
    matter = null, rule = null, body = null, actor = null, interaction = null, message = null, url = null, tag = null,
    location = null, role_family = null, skills = null, identifiers = null, first_name = null, last_name = null,
    headline = null, employer = null, name = null, description = null, fields = null, packed = null
from purged_now named
where events.seq = named.seq;
delete from ops.dead_letters where seq in (select seq from purged_now);
drop table purged_now;
drop table purged_held;
drop table purged_named
