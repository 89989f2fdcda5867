with
tag_change as (
    select canonical_id, lower(trim(tag)) as value, type = 'tagged' as on_, occurred_at, seq
    from scope_events
    where type in ('tagged', 'untagged') and tag is not null
    window by_time as (partition by canonical_id, value order by occurred_at, seq)
    qualify row_number() over by_time = 1 or on_ <> lag(on_) over by_time
),
tag as (
    select
        canonical_id, value, on_,
        occurred_at as valid_from, lead(occurred_at) over by_time as valid_to,
        seq as from_seq, lead(seq) over by_time as to_seq
    from tag_change
    window by_time as (partition by canonical_id, value order by occurred_at, seq)
),
said as (
    from scope_events where type in ('sourced', 'profile_corrected')
),
-- Each attribute of a profile has one content at a time. A list is kept as one text until the intervals are found.
content_said as (
    select canonical_id, 'location' as attribute, lower(trim(location)) as content, occurred_at, seq
    from said where location is not null
    union all
    select canonical_id, 'seniority', seniority, occurred_at, seq from said where seniority is not null
    union all
    select canonical_id, 'role_family', lower(trim(role_family)), occurred_at, seq
    from said where role_family is not null
    union all
    select canonical_id, 'skill', lower(array_to_string(skills, chr(31))), occurred_at, seq
    from said where len(skills) > 0
),
content_change as (
    select *
    from content_said
    window by_time as (partition by canonical_id, attribute order by occurred_at, seq)
    qualify content is distinct from lag(content) over by_time
),
content as (
    select
        canonical_id, attribute, content,
        occurred_at as valid_from, lead(occurred_at) over by_time as valid_to,
        seq as from_seq, lead(seq) over by_time as to_seq
    from content_change
    window by_time as (partition by canonical_id, attribute order by occurred_at, seq)
),
part as (
    select canonical_id, attribute, content as value, valid_from, valid_to, from_seq, to_seq
    from content
    where attribute <> 'skill'
    union
    select
        canonical_id, attribute,
        trim(unnest(string_split(content, if(attribute = 'skill', chr(31), ',')))),
        valid_from, valid_to, from_seq, to_seq
    from content
    where attribute = 'skill' or contains(content, ',') and attribute = 'location'
),
fact as (
    select canonical_id, 'tag' as attribute, value, valid_from, valid_to, from_seq, to_seq from tag where on_
    union all
    from part
    union all
    select
        canonical_id, 'source', lower(trim(source)), min(occurred_at), null,
        min_by(seq, moment), null
    from scope_events
    where type = 'sourced' and source is not null
    group by all
    union all
    select canonical_id, 'exists', '', min(occurred_at), null, min_by(seq, moment), null
    from scope_events
    group by canonical_id
)
from fact
where valid_to is null or valid_from < valid_to
