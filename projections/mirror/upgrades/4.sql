-- From version 3: bodies can be purged. Files older than 3 have no such table yet.
alter table if exists ops.erased add column if not exists purged_seq bigint;
-- What views look at stands in one piece as well.
alter table pii.events add column packed varchar using compression uncompressed;
update pii.events
set packed = regexp_replace(regexp_replace(to_json({
        'actor_kind': actor_kind, 'source': source, 'channel': channel, 'purpose': purpose, 'campaign': campaign,
        'template': template, 'machine': machine, 'kind': bounce_kind, 'event': event, 'job': job, 'stage': stage,
        'method': method, 'right': right_used, 'basis': basis, 'lia': lia, 'notice_version': notice_version,
        'wording_hash': wording_hash, 'language': language, 'expires_at': expires_at, 'article': article,
        'seniority': seniority, 'jurisdiction': jurisdiction, 'rule': rule, 'message': message, 'url': url, 'tag': tag,
        'location': location, 'role_family': role_family, 'skills': skills, 'identifiers': identifiers,
        'first_name': first_name, 'last_name': last_name, 'headline': headline, 'employer': employer, 'name': name,
        'description': description
    })::varchar, '"[a-z_]+":null,?', '', 'g'), ',}$', '}');
