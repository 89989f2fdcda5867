with
sample as (
    select
        case when sourced_at <= as_of() then source end as source,
        list_filter(profile_at, lambda at_: at_ <= as_of())[-1] as changed_at,
        coalesce(role_family_since <= as_of(), false) as has_role_family,
        coalesce(skills_since <= as_of(), false) as has_skills,
        len(list_filter(tags_on_at, lambda at_: at_ <= as_of()))
            > len(list_filter(tags_off_at, lambda at_: at_ <= as_of())) as has_tags,
        coalesce(acted_at[1] <= as_of(), false) as has_last_interaction
    from journey
    where last_profile_at > as_of() - to_days((select sample_days from thresholds))
)
select
    date_trunc('month', make_timestamp(epoch_us(changed_at)))::date as month,
    source,
    count(*) as people,
    count(*) filter (has_role_family) as with_role_family,
    count(*) filter (has_skills) as with_skills,
    count(*) filter (has_tags) as with_tags,
    count(*) filter (has_last_interaction) as with_last_interaction,
    count(*) filter (has_role_family and has_skills and has_tags and has_last_interaction) as complete,
    complete / people as share_complete
from sample
where changed_at > as_of() - to_days((select sample_days from thresholds))
group by month, source
