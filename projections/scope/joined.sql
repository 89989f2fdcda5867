-- Usable events with everything that views look at. `waits`: behind an event of the same aggregate that is broken.
create or replace temp view scope_joined as
select
    e.seq, e.kind, e.id, e.type, e.occurred_at, e.recorded_at, e.actor_kind, e.source, e.channel, e.purpose, e.campaign,
    e.template, e.machine, e.bounce_kind, e.event, e.job, e.stage, e.method, e.right_used, e.basis, e.lia,
    e.notice_version, e.wording_hash, e.language, e.expires_at, e.article, e.seniority, e.jurisdiction, e.target_id,
    e.rule, e.message, e.url, e.tag, e.location, e.role_family, e.skills, e.identifiers, e.first_name, e.last_name,
    e.headline, e.employer, e.name, e.description,
    coalesce(e.seq > broken.first_seq, false) as waits
from scope_rows e
left join ops.broken broken on broken.id = e.id
where e.occurred_at is not null and e.seq not in (select seq from ops.dead_letters)
