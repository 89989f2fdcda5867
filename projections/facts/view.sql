with
-- Each attribute of a profile has one content at a time; each tag is on or off by itself. A list is kept as one text
-- until the intervals are found.
said as (
    select
        canonical_id, occurred_at, seq,
        unnest([
            {attribute: 'location', content: lower(trim(location))},
            {attribute: 'seniority', content: seniority},
            {attribute: 'role_family', content: lower(trim(role_family))},
            {attribute: 'skill', content: if(len(skills) > 0, lower(array_to_string(skills, chr(31))), null)}
        ], recursive := true),
        null as tag
    from scope_events
    where type in ('sourced', 'profile_corrected')
    union all
    select canonical_id, occurred_at, seq, 'tag', type, lower(trim(tag))
    from scope_events
    where type in ('tagged', 'untagged') and tag is not null
),
change as (
    select *
    from said
    where content is not null
    window by_time as (partition by canonical_id, attribute, tag order by occurred_at, seq)
    qualify content is distinct from lag(content) over by_time
),
content as (
    select
        canonical_id, attribute, content, tag,
        occurred_at as valid_from, lead(occurred_at) over by_time as valid_to,
        seq as from_seq, lead(seq) over by_time as to_seq
    from change
    window by_time as (partition by canonical_id, attribute, tag order by occurred_at, seq)
),
-- Each application stands somewhere; a person is at a stage while one of the applications is.
application as (
    select
        canonical_id, occurred_at as valid_from, lead(occurred_at) over by_time as valid_to,
        seq as from_seq, lead(seq) over by_time as to_seq,
        lower(trim(if(type in ('rejected', 'hired'), type, coalesce(stage, type)))) as value
    from scope_events
    where type in ('applied', 'stage_changed', 'rejected', 'hired')
    window by_time as (partition by canonical_id, job order by occurred_at, seq)
),
stage_span as (
    select
        *,
        coalesce(valid_from > max(coalesce(valid_to, 'infinity')) over (
            partition by canonical_id, value order by valid_from, from_seq
            rows between unbounded preceding and 1 preceding), true) as begins
    from application
    where valid_to is null or valid_from < valid_to
),
stage_part as (
    select
        *, count(*) filter (begins) over (partition by canonical_id, value order by valid_from, from_seq) as part
    from stage_span
),
fact as (
    select
        canonical_id, attribute,
        unnest(case attribute
            when 'skill' then list_distinct([trim(skill) for skill in string_split(content, chr(31))])
            when 'location' then list_distinct([trim(part) for part in [content] || string_split(content, ',')])
            when 'tag' then [tag]
            else [content]
        end) as value,
        valid_from, valid_to, from_seq, to_seq
    from content
    where (valid_to is null or valid_from < valid_to) and content <> 'untagged'
    union all
    select
        canonical_id, 'source', lower(trim(source)), min(occurred_at), null,
        min_by(seq, moment), null
    from scope_events
    where type = 'sourced' and source is not null
    group by all
    union all
    select canonical_id, 'attended', lower(trim(event)), min(occurred_at), null, min_by(seq, moment), null
    from scope_events
    where type = 'event_attended'
    group by all
    union all
    select
        canonical_id, 'stage', value, min(valid_from),
        if(bool_or(valid_to is null), null, max(valid_to)),
        arg_min(from_seq, (valid_from, from_seq)),
        if(bool_or(valid_to is null), null, arg_max(to_seq, (valid_to, to_seq)))
    from stage_part
    group by canonical_id, value, part
    union all
    select canonical_id, 'exists', '', min(occurred_at), null, min_by(seq, moment), null
    from scope_events
    group by canonical_id
)
from fact
