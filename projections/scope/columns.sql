-- Everything of an event that views look at.
create or replace temp view scope_columns as
select
    seq, kind, id, type, occurred_at, recorded_at, actor_kind, source, channel, purpose, campaign, template, machine,
    bounce_kind, event, job, stage, method, right_used, basis, lia, notice_version, wording_hash, language, expires_at,
    article, seniority, jurisdiction, target_id, matter, rule, message, url, tag, location, role_family, skills,
    identifiers, first_name, last_name, headline, employer, name, description
from pii.events
