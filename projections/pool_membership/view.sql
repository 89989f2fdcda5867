with
-- Each condition has a number, whatever rules it is in.
ruling as materialized (
    select *, (dense_rank() over (order by attribute, value))::integer as condition
    from pool_rule
    where pool_id in (select pool_id from scope_pools)
),
condition as materialized (
    select distinct condition, attribute, value, channel, purpose, older_days, newer_days, score from ruling
),
version as materialized (
    select
        rule_seq, any_value(pool_id) as pool_id, any_value(valid_from) as valid_from, any_value(valid_to) as valid_to,
        any_value(to_seq) as to_seq, any_value(all_n)::integer as all_n, any_value(any_n)::integer as any_n,
        bit_or(if(part = 'all', 1::bigint << (condition % 63), 0)) as all_bits,
        bit_or(if(part = 'any', 1::bigint << (condition % 63), 0)) as any_bits
    from ruling
    where part is not null -- a rule without conditions is about nobody
    group by rule_seq
),
-- Standing for the purposes that rules ask about, and for recruiting, where an opt-out on every channel lets out.
standing as materialized (
    select
        canonical_id, purpose, channel, valid_from, valid_to, contactable, status, changed_seq as from_seq,
        lead(changed_seq) over (partition by canonical_id, purpose, channel order by valid_from) as to_seq
    from gdpr_audit
    where canonical_id in (select canonical_id from scope_persons)
        and (purpose = 'recruiting' or purpose in (select purpose from condition))
),
-- The rows for a channel the person's statements name decide, else those for any channel.
contactable as (
    select s.* exclude (channel), wanted.value
    from condition wanted
    join standing s on s.purpose = wanted.purpose and s.channel in (wanted.channel, '*')
    where wanted.attribute = 'contactable'
    qualify s.channel = max(s.channel) over (partition by s.canonical_id, wanted.value)
),
-- From act to act; before the first, from when the person became known.
interaction as (
    select
        *, lead(occurred_at) over by_time as next_at, lead(seq) over by_time as next_seq
    from (
        select canonical_id, occurred_at, seq
        from engagement_score
        where human and type <> 'opened' and canonical_id in (select canonical_id from scope_persons)
        union all
        select canonical_id, valid_from, null
        from pii.facts
        where attribute = 'exists' and canonical_id in (select canonical_id from scope_persons)
    ) act
    window by_time as (partition by canonical_id order by occurred_at, seq nulls first)
),
-- From one act that counts to the next the score only fades: when it falls below the wanted one is known beforehand.
score as (
    select
        canonical_id, value, occurred_at as valid_from, seq as from_seq, next_at, next_seq,
        raw >= threshold as holds,
        occurred_at + to_microseconds(
            least(half_life_days * 864e8 * log2(greatest(raw, threshold) / threshold), 1e17)::bigint) as faded_at
    from (
        select
            value, half_life_days,
            -- Less than what raw scores are rounded to is none.
            greatest(-saturation_points * ln(1 - score / 100), 1e-7) as threshold
        from condition
        cross join ops.engagement_model
        where attribute = 'score_at_least'
    ) wanted
    cross join (
        select
            canonical_id, occurred_at, seq, raw,
            lead(occurred_at) over by_time as next_at, lead(seq) over by_time as next_seq
        from engagement_score
        where counted and points <> 0 and canonical_id in (select canonical_id from scope_persons)
        window by_time as (partition by canonical_id order by occurred_at, seq)
    ) act
),
span as materialized (
    select canonical_id, condition, valid_from, valid_to, from_seq, to_seq
    from (
        select canonical_id, attribute, value, valid_from, valid_to, from_seq, to_seq
        from pii.facts
        where canonical_id in (select canonical_id from scope_persons)
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
        cross join condition
        where attribute = 'last_interaction'
            and (seq is not null or newer_days is null) and (ends_at is null or begins_at < ends_at)
        union all
        select
            canonical_id, 'score_at_least', value, valid_from, least(faded_at, next_at), from_seq,
            if(next_at <= faded_at, next_seq, null)
        from score
        where holds and (next_at is null or valid_from < next_at)
    )
    join condition using (attribute, value)
),
-- Who never met every condition of `all`, or none of `any`, was never in. This lets through all others, and perhaps
-- somebody else, for conditions beyond the 63rd share bits; what follows finds out.
eligible as (
    select rule_seq, canonical_id
    from (select canonical_id, bit_or(1::bigint << (condition % 63)) as bits from span group by canonical_id) person
    join version on bits & all_bits = all_bits and (any_n = 0 or bits & any_bits <> 0)
),
due as materialized (
    select
        canonical_id, condition, rule_seq, r.pool_id, r.valid_from, r.valid_to, r.to_seq,
        case part when 'all' then 1 when 'any' then 0 else -1 end as rule_, (part = 'any')::integer as any_
    from eligible
    join ruling r using (rule_seq)
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
        due.pool_id, canonical_id, greatest(met.valid_from, due.valid_from) as valid_from,
        least(met.valid_to, due.valid_to) as valid_to,
        if(met.valid_from >= due.valid_from, met.from_seq, due.rule_seq) as from_seq,
        if(met.valid_to <= coalesce(due.valid_to, 'infinity'), met.to_seq, due.to_seq) as to_seq,
        due.rule_, due.any_, 0 as hand
    from due
    join span met using (canonical_id, condition)
    where (met.valid_to is null or met.valid_to > due.valid_from)
        and (due.valid_to is null or due.valid_to > met.valid_from)
    union all
    select
        pool_id, canonical_id, r.valid_from, r.valid_to, null, r.to_seq,
        1 - all_n, (any_n = 0)::integer, 0
    from eligible e
    join version r using (rule_seq)
    union all
    select
        pool_id, canonical_id, valid_from, valid_to, from_seq, to_seq, 0, 0, if(type = 'candidate_pinned', 1, -1)
    from pin
    where type <> 'candidate_unpinned' and (valid_to is null or valid_from < valid_to)
),
-- Out is who opted out on every channel, or whose data is not to be used: on any, and on each that has a row of its own.
-- Then `out_` is 1.
weighed as (
    select *, 0 as out_ from reason
    union all
    select
        concerned.pool_id, s.canonical_id, s.valid_from, s.valid_to, s.from_seq, s.to_seq, 0, 0, 0,
        if(s.channel = '*', 1, -1)
    from standing s
    join (select distinct pool_id, canonical_id from reason) concerned using (canonical_id)
    where s.purpose = 'recruiting' and (s.channel = '*') = (s.status in ('opted_out', 'restricted'))
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
-- Who was not in before is from here on, until they are out.
change as (
    select
        *, lag(is_in) over by_time as was_in,
        lead(if(is_in, null, {'at_': at_, 'seq': seq}) ignore nulls) over by_time as out_again
    from state
    window by_time as (partition by pool_id, canonical_id order by at_)
)
select
    pool_id, canonical_id, at_ as joined_at, out_again.at_ as left_at, seq as joined_seq, out_again.seq as left_seq
from change
where is_in and not coalesce(was_in, false)
