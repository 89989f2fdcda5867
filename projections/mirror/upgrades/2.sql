-- From version 1: ids were text, and personal fields lay in a table of their own. The views are built anew.
drop index if exists events_of_id;
drop view if exists ops.broken;
create table pii.events_2 as
select
    e.seq, e.recorded_at, e.kind,
    coalesce(try_cast(e.id as uuid), md5(e.id)::uuid) as id, if(try_cast(e.id as uuid) is null, e.id, null) as odd_id,
    e.version, e.type, e.v, e.occurred_at, e.actor_kind, e.source, e.channel, e.purpose, e.campaign, e.template,
    e.machine, e.bounce_kind, e.event, null::varchar as job, null::varchar as stage, e.method, e.right_used, e.basis,
    e.lia, e.notice_version, e.wording_hash, e.language, e.expires_at, e.article, e.seniority, e.jurisdiction,
    try_cast(e.target_id as uuid) as target_id, e.correlation, e.rule, e.hash, e.body,
    p.actor, p.interaction, p.message, p.url, p.tag, p.location, p.role_family, p.skills, p.identifiers, p.first_name,
    p.last_name, p.headline, p.employer, p.name, p.description, p.fields
from main.events e
left join pii.events p using (seq)
order by e.seq;
drop table main.events;
drop table pii.events;
alter table pii.events_2 rename to events;
create index events_of_id on pii.events (id);
alter table ops.dead_letters alter column id type uuid using coalesce(try_cast(id as uuid), md5(id)::uuid);
alter table ops.checkpoint add column views_seq bigint;
update ops.checkpoint set views_seq = seq;
create table ops.views_2 as
select name, 2 as version, definition, null::varchar as manifest, null::varchar as query, built_at, build_s
from ops.views
where name = 'mirror';
drop table ops.views;
alter table ops.views_2 rename to views;
