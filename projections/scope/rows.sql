-- The events of the records that a batch affects, and the pins that name one of them: `scope_columns` of few rows. Filters
-- beyond the one by id come afterwards: with them DuckDB looks through the whole table instead of the index. A column costs
-- 1.7 µs for each row that is reached by index, so that most are taken from where they stand in one piece.
create or replace temp table scope_packed as
select seq, kind, id, type, occurred_at, recorded_at, target_id, matter, packed
from pii.events where id in (select candidate_id from scope_records);
create or replace temp table scope_naming as
select seq, kind, id, type, occurred_at, recorded_at, target_id, matter, packed
from pii.events where target_id in (select candidate_id from scope_records);
insert into scope_packed from scope_naming where kind = 'pool';
create or replace temp table scope_rows as
select
    seq, kind, id, type, occurred_at, recorded_at, p.actor_kind, p.source, p.channel, p.purpose, p.campaign, p.template,
    p.machine, p.kind as bounce_kind, p.event, p.job, p.stage, p.method, p."right" as right_used, p.basis, p.lia,
    p.notice_version, p.wording_hash, p.language, p.expires_at, p.article, p.seniority, p.jurisdiction, target_id, matter,
    p.rule, p.message, p.url, p.tag, p.location, p.role_family, p.skills, p.identifiers, p.first_name, p.last_name,
    p.headline, p.employer, p.name, p.description
from (
    select
        *,
        json_transform(packed, '{
            "actor_kind": "VARCHAR", "source": "VARCHAR", "channel": "VARCHAR", "purpose": "VARCHAR",
            "campaign": "VARCHAR", "template": "VARCHAR", "machine": "BOOLEAN", "kind": "VARCHAR",
            "event": "VARCHAR", "job": "VARCHAR", "stage": "VARCHAR", "method": "VARCHAR", "right": "VARCHAR",
            "basis": "VARCHAR", "lia": "VARCHAR", "notice_version": "VARCHAR", "wording_hash": "VARCHAR",
            "language": "VARCHAR", "expires_at": "TIMESTAMPTZ", "article": "VARCHAR", "seniority": "VARCHAR",
            "jurisdiction": "VARCHAR", "rule": "JSON", "message": "VARCHAR", "url": "VARCHAR", "tag": "VARCHAR",
            "location": "VARCHAR", "role_family": "VARCHAR", "skills": ["VARCHAR"], "identifiers": ["VARCHAR"],
            "first_name": "VARCHAR", "last_name": "VARCHAR", "headline": "VARCHAR", "employer": "VARCHAR",
            "name": "VARCHAR", "description": "VARCHAR"}') as p
    from scope_packed
);
