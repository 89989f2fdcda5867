with
dead as (
    select distinct canonical_id
    from engagement_score
    where hard_bounce and occurred_at <= as_of() and (cleared_at is null or cleared_at > as_of())
),
known as (
    select
        canonical_id,
        canonical_id in (from dead) as hard_bounced,
        list_filter(acted_at, lambda at_: at_ <= as_of())[-1] as last_act_at,
        list_filter(profile_at, lambda at_: at_ <= as_of())[-1] as last_profile_at,
        first_seen_at,
        coalesce(role_family_since > as_of(), true) as missing_role_family,
        coalesce(skills_since > as_of(), true) as missing_skills,
        len(list_filter(tags_on_at, lambda at_: at_ <= as_of()))
            = len(list_filter(tags_off_at, lambda at_: at_ <= as_of())) as missing_tags
    from journey
    where first_seen_at <= as_of()
)
select
    canonical_id, hard_bounced,
    greatest(first_seen_at, last_act_at, last_profile_at)
        <= as_of() - to_months((select stale_months from thresholds)) as stale,
    missing_role_family, missing_skills, missing_tags,
    last_act_at is null as missing_last_interaction,
    not (missing_role_family or missing_skills or missing_tags or missing_last_interaction) as complete
from known
