with
ruling as materialized (
    from pool_rule where pool_id in (select pool_id from scope_pools)
),
version as (
    select distinct on (rule_seq) rule_seq, pool_id, valid_from, valid_to, to_seq, all_n, any_n from ruling
),
-- Standing for the purposes that rules ask about, and for recruiting, where an opt-out on every channel lets out.
standing as materialized (
    select
        canonical_id, purpose, channel, valid_from, valid_to, contactable, status, changed_seq as from_seq,
        lead(changed_seq) over (partition by canonical_id, purpose, channel order by valid_from) as to_seq
    from gdpr_audit
    where canonical_id in (select canonical_id from scope_persons)
        and (purpose = 'recruiting' or purpose in (select purpose from ruling))
),
-- The rows for a channel the person's statements name decide, else those for any channel.
contactable as (
    select s.* exclude (channel), wanted.value
    from (select distinct value, channel, purpose from ruling where attribute = 'contactable') wanted
    join standing s on s.purpose = wanted.purpose and s.channel in (wanted.channel, '*')
    qualify s.channel = max(s.channel) over (partition by s.canonical_id, wanted.value)
),
-- From act to act; before the first, from when the person became known.
interaction as (
    select
        *, lead(occurred_at) over by_time as next_at, lead(seq) over by_time as next_seq
    from (select distinct value, older_days, newer_days from ruling where attribute = 'last_interaction') wanted
    cross join (
        select canonical_id, occurred_at, seq
        from engagement_score
        where human and type <> 'opened' and canonical_id in (select canonical_id from scope_persons)
        union all
        select canonical_id, valid_from, null
        from pii.facts
        where attribute = 'exists' and canonical_id in (select canonical_id from scope_persons)
    ) act
    window by_time as (partition by canonical_id, value order by occurred_at, seq nulls first)
),
-- From one act that counts to the next the score only fades: when it falls below the wanted one is known beforehand.
score as (
    select
        canonical_id, value, occurred_at as valid_from, seq as from_seq,
        lead(occurred_at) over by_time as next_at, lead(seq) over by_time as next_seq,
        raw >= threshold as holds,
        occurred_at + to_microseconds(
            least(half_life_days * 864e8 * log2(greatest(raw, threshold) / threshold), 1e17)::bigint) as faded_at
    from (
        select distinct
            value, half_life_days,
            -- Less than what raw scores are rounded to is none.
            greatest(-saturation_points * ln(1 - score / 100), 1e-7) as threshold
        from ruling
        cross join ops.engagement_model
        where attribute = 'score_at_least'
    ) wanted
    cross join (
        select canonical_id, occurred_at, seq, raw
        from engagement_score
        where counted and points <> 0 and canonical_id in (select canonical_id from scope_persons)
    ) act
    window by_time as (partition by canonical_id, value order by occurred_at, seq)
),
span as materialized (
    select canonical_id, attribute, value, valid_from, valid_to, from_seq, to_seq
    from pii.facts
    where canonical_id in (select canonical_id from scope_persons)
        and (attribute, value) in (select (attribute, value) from ruling)
    union all
    select canonical_id, 'contactable', value, valid_from, valid_to, from_seq, to_seq
    from contactable
    where contactable
    union all
    select
        canonical_id, 'last_interaction', value, occurred_at + to_hours(24 * coalesce(older_days, 0)) as begins_at,
        least(occurred_at + to_hours(24 * newer_days), next_at) as ends_at, if(newer_days is null, null, seq),
        if(ends_at = next_at, next_seq, null)
    from interaction
    where (seq is not null or newer_days is null) and (ends_at is null or begins_at < ends_at)
    union all
    select
        canonical_id, 'score_at_least', value, valid_from, least(faded_at, next_at), from_seq,
        if(next_at <= faded_at, next_seq, null)
    from score
    where holds and (next_at is null or valid_from < next_at)
),
-- Of `none` only what concerns somebody who might be in is looked up, below.
hit as materialized (
    select r.rule_seq, r.part, r.place, span.*
    from ruling r
    join span using (attribute, value)
    where r.part <> 'none'
        and (span.valid_to is null or span.valid_to > r.valid_from)
        and (r.valid_to is null or r.valid_to > span.valid_from)
),
-- Who never met every condition of `all`, or none of `any`, was never in.
eligible as materialized (
    select rule_seq, canonical_id, min(greatest(hit.valid_from, version.valid_from)) as valid_from
    from hit
    join version using (rule_seq)
    group by rule_seq, canonical_id
    having bit_or(if(part = 'all', 1::bigint << place::integer, 0)) = (1::bigint << any_value(all_n)::integer) - 1
        and (any_value(any_n) = 0 or bool_or(part = 'any'))
),
met as (
    select rule_seq, canonical_id, valid_from, valid_to, from_seq, to_seq,
        (part = 'all')::integer as rule_, (part = 'any')::integer as any_
    from hit
    semi join eligible using (rule_seq, canonical_id)
    union all
    select rule_seq, canonical_id, span.valid_from, span.valid_to, from_seq, span.to_seq, -1, 0
    from eligible
    join ruling r using (rule_seq)
    join span using (canonical_id, attribute, value)
    where r.part = 'none'
        and (span.valid_to is null or span.valid_to > r.valid_from)
        and (r.valid_to is null or r.valid_to > span.valid_from)
),
-- A pin may name a record that nothing but merges has named: it stands for itself, and perhaps for others.
aimed as (
    select e.id, e.type, e.occurred_at, e.seq, coalesce(i.canonical_id, e.target_id) as canonical_id
    from scope_pool_events e
    left join identity i on i.candidate_id = e.target_id
    where e.type in ('candidate_pinned', 'candidate_unpinned', 'candidate_excluded')
),
pin as (
    select
        e.id as pool_id, e.canonical_id, e.type,
        greatest(e.occurred_at, life.created_at, born.valid_from) as valid_from,
        least(lead(e.occurred_at) over by_time, life.archived_at) as valid_to,
        e.seq as from_seq,
        coalesce(lead(e.seq) over by_time, life.archived_seq) as to_seq
    from aimed e
    join (select distinct pool_id, created_at, archived_at, archived_seq from ruling) life on life.pool_id = e.id
    join pii.facts born on born.canonical_id = e.canonical_id and born.attribute = 'exists'
    where e.canonical_id in (select canonical_id from scope_persons)
    window by_time as (partition by e.id, e.canonical_id order by e.occurred_at, e.seq)
),
-- What speaks for and against somebody's being in. A rule holds while `rule_`, which begins as much below 1 as there
-- are conditions in `all`, is 1, and `any_` is above 0. `hand` is 1 for the pinned and -1 for the excluded.
reason as materialized (
    select
        r.pool_id, met.canonical_id, greatest(met.valid_from, r.valid_from) as valid_from,
        least(met.valid_to, r.valid_to) as valid_to,
        if(met.valid_from >= r.valid_from, met.from_seq, r.rule_seq) as from_seq,
        if(met.valid_to <= coalesce(r.valid_to, 'infinity'), met.to_seq, r.to_seq) as to_seq,
        met.rule_, met.any_, 0 as hand
    from met
    join version r using (rule_seq)
    union all
    select
        r.pool_id, e.canonical_id, e.valid_from, r.valid_to, null, r.to_seq,
        1 - r.all_n, (r.any_n = 0)::integer, 0
    from eligible e
    join version r using (rule_seq)
    union all
    select
        pool_id, canonical_id, valid_from, valid_to, from_seq, to_seq, 0, 0, if(type = 'candidate_pinned', 1, -1)
    from pin
    where type <> 'candidate_unpinned' and (valid_to is null or valid_from < valid_to)
),
-- Out is who opted out on every channel: on any, and on each that has a row of its own. Then `out_` is 1.
weighed as (
    select *, 0 as out_ from reason
    union all
    select
        concerned.pool_id, s.canonical_id, s.valid_from, s.valid_to, s.from_seq, s.to_seq, 0, 0, 0,
        if(s.channel = '*', 1, -1)
    from standing s
    join (select distinct pool_id, canonical_id from reason) concerned using (canonical_id)
    where s.purpose = 'recruiting' and (s.channel = '*') = (s.status = 'opted_out')
),
step as (
    select
        pool_id, canonical_id, if(sign = 1, valid_from, valid_to) as at_, max(if(sign = 1, from_seq, to_seq)) as seq,
        sum(sign * rule_)::integer as rule_, sum(sign * any_)::integer as any_, sum(sign * hand)::integer as hand,
        sum(sign * out_)::integer as out_
    from weighed
    cross join (values (1), (-1)) ends (sign)
    where sign = 1 or valid_to is not null
    group by pool_id, canonical_id, at_
),
state as (
    select
        pool_id, canonical_id, at_, seq,
        sum(out_) over by_time < 1
            and (sum(hand) over by_time = 1
                or (sum(hand) over by_time = 0 and sum(rule_) over by_time = 1 and sum(any_) over by_time > 0)) as is_in
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
