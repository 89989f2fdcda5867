insert into pii.events by name
select
    seq, recorded_at, kind,
    -- Ids of ours are 32 hexadecimal digits; what somebody else wrote into the ledger keeps its own beside.
    coalesce(try_cast(id as uuid), md5(id)::uuid) as id, if(try_cast(id as uuid) is null, id, null) as odd_id,
    version, type, v, occurred_at,
    p.actor_kind, p.source, p.channel, p.purpose, p.campaign, p.template, p.machine,
    p.kind as bounce_kind, p.event, p.job, p.stage, p.method, p."right" as right_used, p.basis, p.lia, p.notice_version,
    p.wording_hash, p.language, p.expires_at, p.article, p.seniority, p.jurisdiction,
    coalesce(try_cast(p."into" as uuid), try_cast(p.candidate as uuid)) as target_id, p.correlation, p.rule,
    if(type in (
        'request_received', 'request_extended', 'request_closed', 'restricted', 'restriction_lifted',
        'recipient_notified', 'erased'), public, null) as matter,
    coalesce(hash, unhex(sha256(body))) as hash, body,
    s.actor, s.interaction, s.message, s.url, s.tag, s.location, s.role_family, s.skills, s.identifiers, s.first_name,
    s.last_name, s.headline, s.employer, s.name, s.description,
    personal as fields,
    json_merge_patch(public, coalesce(personal, '{}'), '{
        "actor": null, "interaction": null, "text": null, "reason": null, "evidence": null, "explanation": null,
        "details": null, "preferences": null}') as packed
from (
    select
        *,
        json_transform(public, '{
            "actor_kind": "VARCHAR", "source": "VARCHAR", "channel": "VARCHAR", "purpose": "VARCHAR",
            "campaign": "VARCHAR", "template": "VARCHAR", "machine": "BOOLEAN", "kind": "VARCHAR",
            "event": "VARCHAR", "job": "VARCHAR", "stage": "VARCHAR", "method": "VARCHAR", "right": "VARCHAR",
            "basis": "VARCHAR", "lia": "VARCHAR", "notice_version": "VARCHAR", "wording_hash": "VARCHAR",
            "language": "VARCHAR", "expires_at": "TIMESTAMPTZ", "article": "VARCHAR", "seniority": "VARCHAR",
            "jurisdiction": "VARCHAR", "into": "VARCHAR", "candidate": "VARCHAR", "correlation": "VARCHAR",
            "rule": "JSON"}') as p,
        json_transform(personal, '{
            "actor": "VARCHAR", "interaction": "VARCHAR", "message": "VARCHAR", "url": "VARCHAR",
            "tag": "VARCHAR", "location": "VARCHAR", "role_family": "VARCHAR", "skills": ["VARCHAR"],
            "identifiers": ["VARCHAR"], "first_name": "VARCHAR", "last_name": "VARCHAR",
            "headline": "VARCHAR", "employer": "VARCHAR", "name": "VARCHAR", "description": "VARCHAR"}') as s
    from batch
);
