create or replace temp view scope_joined as
select
    e.seq, e.kind, e.id, e.type, e.occurred_at, e.recorded_at, e.actor_kind, e.source, e.channel, e.purpose, e.campaign,
    e.machine, e.bounce_kind, e.method, e.right_used, e.basis, e.lia, e.notice_version, e.wording_hash,
    e.language, e.expires_at, e.seniority, e.jurisdiction, e.target_id, e.rule,
    p.message, p.url, p.tag, p.location, p.role_family, p.skills, p.identifiers, p.first_name, p.last_name,
    p.headline, p.employer, p.name, p.description,
    coalesce(e.seq > broken.first_seq, false) as waits
from scope_rows e
left join scope_personal p using (seq)
left join ops.broken broken on broken.id = e.id
anti join ops.dead_letters letter on letter.seq = e.seq;
