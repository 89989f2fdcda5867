-- Part of every view's definition: a change here rebuilds them all.
create or replace view pii.usable as
select
    e.seq, e.kind, e.id, e.type, e.occurred_at, e.actor_kind, e.source, e.channel, e.purpose, e.campaign,
    e.machine, e.bounce_kind, e.method, e.right_used, e.basis, e.lia, e.notice_version, e.wording_hash,
    e.language, e.expires_at, e.seniority, e.jurisdiction, e.target_id, e.rule,
    p.message, p.url, p.tag, p.location, p.role_family, p.skills, p.identifiers, p.first_name, p.last_name,
    p.headline, p.employer, p.name, p.description,
    -- What came after a broken event of the same aggregate waits, except where nothing may be passed over.
    coalesce(e.seq > broken.first_seq, false) as waits
from main.events e
left join pii.events p using (seq)
left join (select id, min(seq) as first_seq from ops.dead_letters group by id) broken on broken.id = e.id
where e.seq not in (select seq from ops.dead_letters);
