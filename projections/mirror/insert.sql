insert into events by name
select
    seq, recorded_at, kind, id, version, type, v, occurred_at,
    p.actor_kind, p.source, p.channel, p.purpose, p.campaign, p.template, p.machine,
    p.kind as bounce_kind, p.event, p.method, p."right" as right_used, p.basis, p.lia, p.notice_version,
    p.wording_hash, p.language, p.expires_at, p.article, p.seniority, p.jurisdiction,
    coalesce(p."into", p.candidate) as target_id, p.correlation, p.rule,
    unhex(sha256(body)) as hash, body
from (
    select *, json_transform(public, '{
        "actor_kind": "VARCHAR", "source": "VARCHAR", "channel": "VARCHAR", "purpose": "VARCHAR",
        "campaign": "VARCHAR", "template": "VARCHAR", "machine": "BOOLEAN", "kind": "VARCHAR",
        "event": "VARCHAR", "method": "VARCHAR", "right": "VARCHAR", "basis": "VARCHAR", "lia": "VARCHAR",
        "notice_version": "VARCHAR", "wording_hash": "VARCHAR", "language": "VARCHAR",
        "expires_at": "TIMESTAMPTZ", "article": "VARCHAR", "seniority": "VARCHAR",
        "jurisdiction": "VARCHAR", "into": "VARCHAR", "candidate": "VARCHAR", "correlation": "VARCHAR",
        "rule": "JSON"}') as p
    from batch
);

insert into pii.events by name
select
    seq, id, p.actor, p.interaction, p.message, p.url, p.tag, p.location, p.role_family, p.skills,
    p.identifiers, p.first_name, p.last_name, p.headline, p.employer, p.name, p.description,
    personal as fields
from (
    select *, json_transform(personal, '{
        "actor": "VARCHAR", "interaction": "VARCHAR", "message": "VARCHAR", "url": "VARCHAR",
        "tag": "VARCHAR", "location": "VARCHAR", "role_family": "VARCHAR", "skills": ["VARCHAR"],
        "identifiers": ["VARCHAR"], "first_name": "VARCHAR", "last_name": "VARCHAR",
        "headline": "VARCHAR", "employer": "VARCHAR", "name": "VARCHAR", "description": "VARCHAR"}') as p
    from batch
    where personal is not null
);

insert into ops.dead_letters by name
select seq, id, version, problem, now() as noticed_at
from batch
where problem is not null;
