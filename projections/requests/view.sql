-- The rule for `due_at` is that of domain/request.py. Like consent, requests do not wait behind a broken event, and one
-- that is dated ahead counts from when it is known.
with
said as (
    select id as candidate_id, try_cast(matter ->> '$.request' as uuid) as request_id, type, seq, occurred_at, matter
    from events
    where type in ('request_received', 'request_extended', 'request_closed') 
        and least(occurred_at, recorded_at) <= as_of()
),
request as (
    select
        candidate_id, request_id,
        any_value(matter ->> '$.asks_for') filter (type = 'request_received') as asks_for,
        min(occurred_at) filter (type = 'request_received') as received_at,
        min(occurred_at) filter (type = 'request_extended') as extended_at,
        any_value(matter ->> '$.reason') filter (type = 'request_extended') as extended_for,
        min(occurred_at) filter (type = 'request_closed') as closed_at,
        any_value(matter ->> '$.outcome') filter (type = 'request_closed') as outcome,
        min(seq) filter (type = 'request_received') as received_seq,
        min(seq) filter (type = 'request_extended') as extended_seq,
        min(seq) filter (type = 'request_closed') as closed_seq
    from said
    group by candidate_id, request_id
    having received_at is not null
)
select
    canonical_id, candidate_id, request_id, asks_for, received_at,
    -- More time there is only where the person was told before the first was over (Art. 12(3) GDPR).
    case when extended_at < first_due_at then longer_due_at else first_due_at end as due_at,
    extended_at, extended_for, closed_at, outcome,
    case when closed_at is not null then 'closed' when due_at <= as_of() then 'overdue' else 'open' end as state,
    received_seq, extended_seq, closed_seq
from (
    select
        *,
        -- A month ends on the day of the same number, or on the last that it has; that day counts to its end.
        (received_at at time zone 'UTC')::date as received_on,
        ((received_on + to_months(1))::date + to_days(1)) at time zone 'UTC' as first_due_at,
        ((received_on + to_months(3))::date + to_days(1)) at time zone 'UTC' as longer_due_at
    from request
)
join identity using (candidate_id)
