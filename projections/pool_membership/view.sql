with
pool_event as materialized (
    from scope_pool_events
),
life as (
    select
        id as pool_id,
        min(occurred_at) filter (type = 'created') as created_at,
        min(occurred_at) filter (type = 'archived') as archived_at,
        max(seq) filter (type = 'archived') as archived_seq
    from pool_event
    group by id
    having created_at is not null
),
version as (
    select
        id as pool_id, rule, seq as rule_seq,
        greatest(occurred_at, created_at) as valid_from,
        least(lead(occurred_at) over by_time, archived_at) as valid_to,
        coalesce(lead(seq) over by_time, archived_seq) as to_seq,
        json_array_length(rule, 'all') as all_n,
        json_array_length(rule, 'any') as any_n,
        json_array_length(rule, 'none') as none_n
    from pool_event
    join life on life.pool_id = id
    where type in ('created', 'rule_changed')
    window by_time as (partition by id order by occurred_at, seq)
),
ruling as (
    from version
    where (valid_to is null or valid_from < valid_to) and all_n + any_n + none_n > 0
),
predicate as (
    select rule_seq, part, json_keys(term)[1] as attribute, term, row_number() over () as predicate
    from (
        select rule_seq, part, unnest(json_transform(json_extract(rule, part), '["JSON"]')) as term
        from ruling
        cross join (values ('all'), ('any'), ('none')) parts (part)
    )
    union all
    -- A rule that only says who is out is about everybody else.
    select rule_seq, 'all', 'exists', null, -1 from ruling where all_n + any_n = 0
),
condition as (
    select
        rule_seq, part, attribute, predicate,
        case attribute
            when 'contactable' then (term ->> '$.contactable.channel') || '/' || (term ->> '$.contactable.purpose')
            when 'exists' then ''
            else lower(trim(term ->> ('$.' || attribute)))
        end as value
    from predicate
),
standing as (
    select canonical_id, purpose, channel, valid_from, valid_to, contactable, status, changed_seq,
        lead(changed_seq) over (partition by canonical_id, purpose, channel order by valid_from) as to_seq
    from gdpr_audit
    where canonical_id in (select canonical_id from scope_persons)
),
wanted as (
    select distinct value, string_split(value, '/')[1] as channel, value[len(string_split(value, '/')[1]) + 2:] as purpose
    from condition
    where attribute = 'contactable'
),
-- The rows for a channel the person's statements name decide, else those for any channel.
contactable as (
    select s.canonical_id, wanted.value, s.valid_from, s.valid_to, s.changed_seq as from_seq, s.to_seq, s.contactable
    from wanted
    join standing s on s.purpose = wanted.purpose and s.channel in (wanted.channel, '*')
    qualify s.channel = max(s.channel) over (partition by s.canonical_id, wanted.value)
),
fact as (
    select canonical_id, attribute, value, valid_from, valid_to, from_seq, to_seq
    from pii.facts
    where canonical_id in (select canonical_id from scope_persons)
    union all
    select canonical_id, 'contactable', value, valid_from, valid_to, from_seq, to_seq
    from contactable
    where contactable
),
met as (
    select
        ruling.rule_seq, fact.canonical_id, condition.part, condition.predicate,
        greatest(fact.valid_from, ruling.valid_from) as valid_from,
        least(fact.valid_to, ruling.valid_to) as valid_to,
        if(fact.valid_from >= ruling.valid_from, fact.from_seq, ruling.rule_seq) as from_seq,
        if(fact.valid_to <= coalesce(ruling.valid_to, 'infinity'), fact.to_seq, ruling.to_seq) as to_seq
    from condition
    join ruling using (rule_seq)
    join fact on fact.attribute = condition.attribute and fact.value = condition.value
    where (fact.valid_to is null or fact.valid_to > ruling.valid_from)
        and (ruling.valid_to is null or ruling.valid_to > fact.valid_from)
),
-- Who never met every predicate of `all`, or none of `any`, was never in.
eligible as (
    select met.rule_seq, met.canonical_id
    from met
    join ruling using (rule_seq)
    group by met.rule_seq, met.canonical_id
    having count(distinct met.predicate) filter (met.part = 'all') >= any_value(ruling.all_n)
        and (any_value(ruling.any_n) = 0 or bool_or(met.part = 'any'))
),
rule_step as (
    select
        rule_seq, canonical_id, at_, max(seq) as seq,
        coalesce(sum(step) filter (part = 'all'), 0) as all_step,
        coalesce(sum(step) filter (part = 'any'), 0) as any_step,
        coalesce(sum(step) filter (part = 'none'), 0) as none_step
    from (
        select rule_seq, canonical_id, part, valid_from as at_, from_seq as seq, 1 as step
        from met semi join eligible using (rule_seq, canonical_id)
        union all
        select rule_seq, canonical_id, part, valid_to, to_seq, -1
        from met semi join eligible using (rule_seq, canonical_id)
        where valid_to is not null
    )
    group by rule_seq, canonical_id, at_
),
rule_state as (
    select
        rule_seq, canonical_id, at_, seq,
        sum(all_step) over by_time as all_met,
        sum(any_step) over by_time as any_met,
        sum(none_step) over by_time as none_met
    from rule_step
    window by_time as (partition by rule_seq, canonical_id order by at_)
),
rule_span as (
    select
        ruling.pool_id, s.canonical_id,
        s.all_met >= greatest(ruling.all_n, if(ruling.all_n + ruling.any_n = 0, 1, 0))
            and (ruling.any_n = 0 or s.any_met > 0)
            and s.none_met = 0 as holds,
        s.at_ as valid_from, s.seq as from_seq,
        lead(s.at_) over by_time as valid_to, lead(s.seq) over by_time as to_seq
    from rule_state s
    join ruling using (rule_seq)
    window by_time as (partition by s.rule_seq, s.canonical_id order by s.at_)
),
pin as (
    select
        e.id as pool_id, i.canonical_id, e.type,
        greatest(e.occurred_at, life.created_at, born.valid_from) as valid_from,
        least(lead(e.occurred_at) over by_time, life.archived_at) as valid_to,
        e.seq as from_seq,
        coalesce(lead(e.seq) over by_time, life.archived_seq) as to_seq
    from pool_event e
    join life on life.pool_id = e.id
    join identity i on i.candidate_id = e.target_id
    join fact born on born.canonical_id = i.canonical_id and born.attribute = 'exists'
    where e.type in ('candidate_pinned', 'candidate_unpinned', 'candidate_excluded')
    window by_time as (partition by e.id, i.canonical_id order by e.occurred_at, e.seq)
),
hand as (
    select pool_id, canonical_id, replace(type, 'candidate_', '') as part, valid_from, valid_to, from_seq, to_seq
    from pin
    where type <> 'candidate_unpinned' and (valid_to is null or valid_from < valid_to)
),
reason as (
    select pool_id, canonical_id, 'rule' as part, valid_from, valid_to, from_seq, to_seq from rule_span where holds
    union all
    from hand
),
-- Out is who opted out on every channel: on any, and on each that has a row of its own.
optout as (
    select
        concerned.pool_id, s.canonical_id,
        if(s.channel = '*', 'opted_out', 'reachable') as part, s.valid_from, s.valid_to, s.changed_seq, s.to_seq
    from standing s
    join (select distinct pool_id, canonical_id from reason) concerned using (canonical_id)
    where s.purpose = 'recruiting' and (s.channel = '*') = (s.status = 'opted_out')
),
step as (
    select
        pool_id, canonical_id, at_, max(seq) as seq,
        coalesce(sum(step) filter (part = 'rule'), 0) as rule_step,
        coalesce(sum(step) filter (part = 'pinned'), 0) as pinned_step,
        coalesce(sum(step) filter (part = 'excluded'), 0) as excluded_step,
        coalesce(sum(step) filter (part = 'opted_out'), 0) as opted_out_step,
        coalesce(sum(step) filter (part = 'reachable'), 0) as reachable_step
    from (
        select pool_id, canonical_id, part, valid_from as at_, from_seq as seq, 1 as step
        from (from reason union all from optout)
        union all
        select pool_id, canonical_id, part, valid_to, to_seq, -1
        from (from reason union all from optout)
        where valid_to is not null
    )
    group by pool_id, canonical_id, at_
),
state as (
    select
        pool_id, canonical_id, at_, seq,
        (sum(opted_out_step) over by_time = 0 or sum(reachable_step) over by_time > 0)
            and (sum(pinned_step) over by_time > 0
                or (sum(excluded_step) over by_time = 0 and sum(rule_step) over by_time > 0)) as is_in
    from step
    window by_time as (partition by pool_id, canonical_id order by at_)
),
change as (
    from state
    qualify is_in <> coalesce(lag(is_in) over (partition by pool_id, canonical_id order by at_), false)
),
membership as (
    select
        pool_id, canonical_id, is_in,
        at_ as joined_at, lead(at_) over by_time as left_at,
        seq as joined_seq, lead(seq) over by_time as left_seq
    from change
    window by_time as (partition by pool_id, canonical_id order by at_)
)
select * exclude (is_in) from membership where is_in
