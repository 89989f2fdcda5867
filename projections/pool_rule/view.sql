with
life as (
    select
        id as pool_id,
        min(occurred_at) filter (type = 'created') as created_at,
        min(occurred_at) filter (type = 'archived') as archived_at,
        max(seq) filter (type = 'archived') as archived_seq
    from scope_pool_events
    group by id
    having created_at is not null
),
version as (
    select
        life.*, rule, seq as rule_seq,
        greatest(occurred_at, created_at) as valid_from,
        least(lead(occurred_at) over by_time, archived_at) as valid_to,
        coalesce(lead(seq) over by_time, archived_seq) as to_seq
    from scope_pool_events e
    join life on life.pool_id = e.id
    where type in ('created', 'rule_changed')
    window by_time as (partition by id order by occurred_at, seq)
),
condition as (
    select
        rule_seq, part,
        unnest(json_transform(json_extract(rule, part), '["JSON"]')) as term,
        generate_subscripts(json_transform(json_extract(rule, part), '["JSON"]'), 1) - 1 as place
    from version
    cross join (values ('all'), ('any'), ('none')) parts (part)
    union all
    -- A rule that only says who is out is about everybody else.
    select rule_seq, 'all', '{"exists": ""}', 0
    from version
    where json_array_length(rule, 'none') > 0
        and json_array_length(rule, 'all') + json_array_length(rule, 'any') = 0
)
select
    pool_id, rule_seq, created_at, archived_at, archived_seq, valid_from, valid_to, to_seq,
    count(*) filter (part = 'all') over (partition by rule_seq) as all_n,
    count(*) filter (part = 'any') over (partition by rule_seq) as any_n,
    part, place,
    json_keys(term)[1] as attribute,
    lower(trim(term ->> ('$.' || attribute))) as value,
    term ->> '$.contactable.channel' as channel,
    term ->> '$.contactable.purpose' as purpose,
    (term ->> '$.last_interaction.older_than_days')::integer as older_days,
    (term ->> '$.last_interaction.newer_than_days')::integer as newer_days,
    (term ->> '$.score_at_least')::double as score
from version
left join condition using (rule_seq)
where valid_to is null or valid_from < valid_to
