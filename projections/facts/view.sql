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
-- Each attribute of a profile has one content at a time: a text, its parts, or a list.
said as (
    select
        canonical_id, occurred_at, seq,
        unnest([
            {attribute: 'location', content: list_sort(list_distinct([lower(trim(location))]
                || [lower(trim(x)) for x in string_split(location, ',')]))},
            {attribute: 'seniority', content: [lower(trim(seniority))]},
            {attribute: 'role_family', content: [lower(trim(role_family))]},
            {attribute: 'skill', content: list_sort(list_distinct([lower(trim(x)) for x in skills]))}
        ], recursive := true)
    from scope_events
    where type in ('sourced', 'profile_corrected')
),
content_change as (
    select *
    from said
    where len(content) > 0 and content[1] is not null
    window by_time as (partition by canonical_id, attribute order by occurred_at, seq)
    qualify row_number() over by_time = 1 or content is distinct from lag(content) over by_time
),
content as (
    select
        canonical_id, attribute, content,
        occurred_at as valid_from, lead(occurred_at) over by_time as valid_to,
        seq as from_seq, lead(seq) over by_time as to_seq
    from content_change
    window by_time as (partition by canonical_id, attribute order by occurred_at, seq)
),
fact as (
    select canonical_id, 'tag' as attribute, value, valid_from, valid_to, from_seq, to_seq from tag where on_
    union all
    select distinct canonical_id, attribute, unnest(content), valid_from, valid_to, from_seq, to_seq
    from content
    where valid_to is null or valid_from < valid_to
    union all
    select
        canonical_id, 'source', lower(trim(source)), min(occurred_at), null,
        min_by(seq, (occurred_at, seq)), null
    from scope_events
    where type = 'sourced' and source is not null
    group by all
    union all
    select canonical_id, 'exists', '', min(occurred_at), null, min_by(seq, (occurred_at, seq)), null
    from scope_events
    group by canonical_id
)
from fact
where valid_to is null or valid_from < valid_to
