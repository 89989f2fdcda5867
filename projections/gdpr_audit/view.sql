with recursive
-- When two records of one person became one: the last merge on the path between them.
family as (
    select candidate_id, merged_into, merged_seq
    from identity
    where canonical_id in (
        select canonical_id
        from identity
        where merged_into is not null and canonical_id in (select canonical_id from scope_persons)
    )
),
above as (
    select candidate_id, candidate_id as ancestor_id, 0::bigint as seq from family
    union all
    select above.candidate_id, family.merged_into, greatest(above.seq, family.merged_seq)
    from above
    join family on family.candidate_id = above.ancestor_id and family.merged_into is not null
),
joined as (
    select a.candidate_id as a, b.candidate_id as b, min(greatest(a.seq, b.seq)) as seq
    from above a
    join above b on a.ancestor_id = b.ancestor_id and a.candidate_id <> b.candidate_id
    group by a.candidate_id, b.candidate_id
),
-- A statement holds at the latest from when it was recorded, even when its claimed time lies ahead.
statement as materialized (
    select
        canonical_id, id as candidate_id, seq,
        least(occurred_at, recorded_at) as held_from,
        -- A restriction is of all use, whatever channel it came by.
        type, if(type in ('restricted', 'restriction_lifted'), null, e.channel) as channel,
        -- What was recorded before `*` was read at the door: against contact it means every purpose.
        if(e.purpose = '*' and type in ('opted_out', 'complained', 'consent_withdrawn'), null, e.purpose) as purpose,
        basis, expires_at,
        if(type in ('restricted', 'restriction_lifted'), try_cast(matter ->> '$.request' as uuid), null) as request,
        lia, notice_version, wording_hash, method, language, right_used,
        -- When it holds from and, for a tie, the ledger's order.
        epoch_us(held_from)::hugeint * (1::hugeint << 63) + seq as place
    from scope_audit_events e
    where type in ('opted_out', 'complained', 'opted_in', 'consent_given', 'consent_withdrawn', 'basis_recorded',
        'restricted', 'restriction_lifted')
),
channel as (
    select canonical_id, channel from statement where channel is not null
    union
    select canonical_id, '*' from statement
),
purpose as (
    select canonical_id, purpose from statement where purpose is not null
    union
    select canonical_id, unnest(['*', 'recruiting']) from statement
),
cell as (
    select canonical_id, channel, purpose, row_number() over () as cell
    from channel
    join purpose using (canonical_id)
),
held as (
    select cell.cell, s.place, s.candidate_id, s.seq, s.held_from as occurred_at, s.type, s.basis, s.expires_at,
        s.request
    from cell
    join statement s using (canonical_id)
    where (s.channel is null or s.channel = cell.channel)
        and (s.purpose is null or (s.purpose = cell.purpose and cell.purpose <> '*'))
),
-- A statement holds until a later one of the same person answers it. Said at the same moment, the word against
-- contact wins, whichever arrived first.
answered as (
    select h.cell, h.place, min(later.occurred_at) as answered_at
    from held h
    join held later on later.cell = h.cell and later.place > h.place
    left join joined on joined.a = h.candidate_id and joined.b = later.candidate_id
    where (later.candidate_id = h.candidate_id or later.seq > joined.seq)
        and case h.type
            when 'restricted' then later.type = 'restriction_lifted' and later.occurred_at > h.occurred_at
                and (later.request is null or later.request = h.request)
            when 'opted_out' then later.type = 'opted_in' and later.occurred_at > h.occurred_at
            when 'complained' then later.type = 'opted_in' and later.occurred_at > h.occurred_at
            when 'consent_withdrawn' then later.type = 'consent_given' and later.occurred_at > h.occurred_at
                and (later.expires_at > later.occurred_at) is distinct from false  -- not over when it was given
            when 'consent_given' then later.type in ('consent_given', 'consent_withdrawn')
            when 'basis_recorded' then later.type = 'basis_recorded'
            else false
        end
    group by h.cell, h.place
),
lasting as (
    select held.*, answered.answered_at
    from held
    left join answered using (cell, place)
    where answered_at is null or answered_at > occurred_at
),
point as (
    select cell, occurred_at as at_, seq from held
    union all
    select cell, expires_at, null from held where type = 'consent_given' and expires_at > occurred_at
),
in_force as (
    select
        point.cell,
        point.at_,
        max(point.seq) as changed_seq,
        max(place) filter (type = 'restricted') as restriction,
        max(place) filter (type in ('opted_out', 'complained')) as opt_out,
        max(place) filter (type = 'consent_withdrawn') as withdrawal,
        max(place) filter (type = 'consent_given') as consent,
        max(place) filter (type = 'consent_given' and (expires_at is null or expires_at > at_)) as valid_consent,
        max(place) filter (type = 'basis_recorded') as basis,
        max(place) filter (type = 'basis_recorded' and l.basis = 'consent') as consent_needed
    from point
    left join lasting l
        on l.cell = point.cell
        and l.occurred_at <= point.at_
        and (l.answered_at is null or point.at_ < l.answered_at)
    group by point.cell, point.at_
),
decided as (
    select
        cell, at_, changed_seq,
        case
            when restriction is not null then 'restricted'
            when opt_out is not null then 'opted_out'
            when withdrawal is not null then 'withdrawn'
            when valid_consent is not null then 'consent'
            when basis is not null and consent_needed is null then 'basis'
            when consent is not null then 'expired'
            when consent_needed is not null then 'consent_missing'
            else 'no_basis'
        end as status,
        case status
            when 'restricted' then restriction
            when 'opted_out' then opt_out
            when 'withdrawn' then withdrawal
            when 'consent' then valid_consent
            when 'basis' then basis
            when 'expired' then consent
            when 'consent_missing' then consent_needed
        end as place
    from in_force
),
changed as (
    select *
    from decided
    window by_time as (partition by cell order by at_)
    qualify (status, place) is distinct from (lag(status) over by_time, lag(place) over by_time)
),
span as (
    select *, lead(at_) over (partition by cell order by at_) as valid_to from changed
)
select
    cell.canonical_id,
    cell.purpose,
    cell.channel,
    span.at_ as valid_from,
    span.valid_to,
    span.status in ('consent', 'basis') as contactable,
    if(span.status = 'basis', s.basis, span.status) as status,
    s.seq as because_seq,
    span.changed_seq,
    s.candidate_id, s.type, s.basis, s.lia, s.notice_version, s.wording_hash, s.method, s.language,
    s.right_used, s.expires_at
from span
join cell using (cell)
left join statement s on s.place = span.place
