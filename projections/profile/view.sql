with
person as (
    select canonical_id, min(occurred_at) as first_seen_at, count(*) as events
    from scope_events
    group by canonical_id
),
record as (
    select canonical_id, list_sort(list(candidate_id)) as records
    from identity
    where canonical_id in (select canonical_id from scope_persons)
    group by canonical_id
),
-- `max_by` passes over what was not said.
latest as (
    select
        canonical_id,
        max_by(first_name, moment) as first_name,
        max_by(last_name, moment) as last_name,
        max_by(headline, moment) as headline,
        max_by(employer, moment) as employer,
        max_by(location, moment) as location,
        max_by(if(len(skills) > 0, skills, null), moment) as skills,
        max_by(seniority, moment) as seniority,
        max_by(role_family, moment) as role_family,
        max_by(jurisdiction, moment) as jurisdiction,
        list_sort(list_distinct(list(source) filter (type = 'sourced' and source is not null))) as sources
    from scope_events
    where type in ('sourced', 'profile_corrected')
    group by canonical_id
),
identifier as (
    select canonical_id, list_sort(list(distinct identifier)) as identifiers
    from (
        select canonical_id, unnest(identifiers) as identifier
        from scope_events
        where len(identifiers) > 0
    )
    group by canonical_id
),
tag_ as (
    select canonical_id, lower(trim(tag)) as value, max_by(trim(tag), moment) as tag,
        max_by(type, moment) as type
    from scope_events
    where type in ('tagged', 'untagged') and tag is not null
    group by canonical_id, value
),
tags as (
    select canonical_id, list_sort(list(tag)) as tags from tag_ where type = 'tagged' group by canonical_id
),
act as (
    select canonical_id, max(occurred_at) as last_act_at
    from engagement_score
    -- An open says that an image was loaded, not that somebody acted.
    where human and type <> 'opened' and canonical_id in (select canonical_id from scope_persons)
    group by canonical_id
)
select
    canonical_id, records, first_name, last_name, headline, employer, location, skills, seniority, role_family,
    jurisdiction,
    coalesce(tags, []) as tags,
    coalesce(sources, []) as sources,
    coalesce(identifiers, []) as identifiers,
    first_seen_at,
    last_act_at as last_interaction_at,
    events
from person
join record using (canonical_id)
left join latest using (canonical_id)
left join identifier using (canonical_id)
left join tags using (canonical_id)
left join act using (canonical_id)
