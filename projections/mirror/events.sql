create or replace view main.events as
select
    seq, recorded_at, kind, id, version, type, v, occurred_at, actor_kind, source, channel, purpose, campaign, template,
    machine, bounce_kind, event, job, stage, method, right_used, basis, lia, notice_version, wording_hash, language,
    expires_at, article, seniority, jurisdiction, target_id, correlation, matter, rule, hash, body
from pii.events
