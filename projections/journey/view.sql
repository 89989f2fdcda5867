with
happening as (
    select canonical_id, occurred_at as at_, type, moment, source,
        role_family is not null and type in ('sourced', 'profile_corrected') as says_role_family,
        len(skills) > 0 and type in ('sourced', 'profile_corrected') as says_skills
    from scope_events
    union all by name
    -- An open says that an image was loaded, not that somebody acted.
    select canonical_id, occurred_at as at_, if(hard_bounce, 'hard_bounce', 'act') as type
    from engagement_score
    where (made_by = 'human' and type <> 'opened' or hard_bounce and cleared_at is null)
        and canonical_id in (select canonical_id from scope_persons)
    union all by name
    select canonical_id, unnest([valid_from, valid_to]) as at_, unnest(['tag_on', 'tag_off']) as type
    from pii.facts
    where attribute = 'tag' and canonical_id in (select canonical_id from scope_persons)
),
person as (
    select
        canonical_id,
        min(at_) as first_seen_at,
        arg_min_null(source, moment) filter (type = 'sourced') as source,
        min(at_) filter (type = 'sourced') as sourced_at,
        min(at_) filter (type = 'replied') as first_reply_at,
        min(at_) filter (type = 'applied') as first_applied_at,
        min(at_) filter (type = 'hired') as hired_at,
        max(at_) filter (type = 'rejected') as rejected_at,
        min(at_) filter (type = 'hard_bounce') as hard_bounced_at,
        min(at_) filter (says_role_family) as role_family_since,
        min(at_) filter (says_skills) as skills_since,
        coalesce(list_sort(list(at_) filter (type in ('emailed', 'messaged'))), []) as touched_at,
        coalesce(list_sort(list(at_) filter (type = 'act')), []) as acted_at,
        coalesce(list_sort(list(at_) filter (
            type in ('sourced', 'profile_corrected', 'tagged', 'untagged'))), []) as profile_at,
        coalesce(list_sort(list(at_) filter (type = 'tag_on')), []) as tags_on_at,
        coalesce(list_sort(list(at_) filter (type = 'tag_off' and at_ is not null)), []) as tags_off_at
    from happening
    group by canonical_id
)
select
    canonical_id, first_seen_at, source, sourced_at,
    touched_at[1] as first_contact_at, touched_at[-1] as last_touch_at, len(touched_at) as touches,
    first_reply_at, acted_at[-1] as last_act_at, first_applied_at, hired_at, rejected_at, hard_bounced_at,
    role_family_since, role_family_since is not null as has_role_family,
    skills_since, skills_since is not null as has_skills,
    len(tags_on_at) - len(tags_off_at) as tags,
    profile_at[-1] as last_profile_at,
    touched_at, acted_at, profile_at, tags_on_at, tags_off_at
from person
