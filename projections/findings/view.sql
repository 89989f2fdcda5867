with
happened as not materialized (
    select
        i.canonical_id, e.id as candidate_id, e.seq, e.type, e.recorded_at, e.actor_kind, e.channel, e.purpose,
        e.jurisdiction, e.job, e.matter,
        -- What bears on standing holds at the latest from when it was recorded, as in `gdpr_audit`.
        case
            when e.type in ('opted_out', 'complained', 'opted_in', 'consent_given', 'consent_withdrawn',
                'basis_recorded', 'restricted', 'restriction_lifted') then least(e.occurred_at, e.recorded_at)
            else e.occurred_at
        end as begins,
        begins as occurred_at,
        -- When it happened and, for a tie, the ledger's order.
        epoch_us(begins)::hugeint * (1::hugeint << 63) + e.seq as moment
    from events e
    join identity i on i.candidate_id = e.id
    where e.kind = 'candidate' and begins <= as_of()
),
standing as not materialized (
    from gdpr_audit where valid_from <= as_of() and (valid_to is null or as_of() < valid_to)
),
-- The law that a person is under: what their profile last named.
under as (
    select canonical_id, arg_max(jurisdiction, moment) as jurisdiction
    from happened
    where type in ('sourced', 'profile_corrected') and jurisdiction is not null
    group by canonical_id
),
person as (
    select first.*, policy.* exclude (jurisdiction)
    from (
        select canonical_id, min(occurred_at) as first_at, arg_min(seq, moment) as first_seq,
            arg_min(candidate_id, moment) as first_candidate_id
        from happened
        group by canonical_id
    ) first
    left join under using (canonical_id)
    join compliance_policy policy on policy.jurisdiction = case
        when under.jurisdiction is null then (select jurisdiction from compliance_policy where by_default)
        when under.jurisdiction in (select jurisdiction from compliance_policy) then under.jurisdiction
        else (select jurisdiction from compliance_policy where otherwise)
    end
),
-- ── contacts and opens, by the standing that held then ──
touch as not materialized (
    select canonical_id, candidate_id, seq, occurred_at, type,
        case when type in ('emailed', 'opened') then 'email' else channel end as channel,
        case type when 'opened' then 'open_tracking' else purpose end as purpose
    from happened
    where type in ('emailed', 'messaged', 'opened')
),
-- The row for the channel and the purpose decides where there is one, else the row for any.
stood as (
    select
        touch.seq,
        arg_max(
            {contactable: g.contactable, status: g.status, because_seq: g.because_seq},
            2 * (g.channel <> '*')::tinyint + (g.purpose <> '*')::tinyint) as answer
    from touch
    join gdpr_audit g
        on g.canonical_id = touch.canonical_id
        and g.valid_from <= touch.occurred_at and (g.valid_to is null or touch.occurred_at < g.valid_to)
        and g.channel in (touch.channel, '*') and g.purpose in (touch.purpose, '*')
    group by touch.seq
),
reached as (
    select
        case
            when type = 'opened' then 'open_without_tracking_basis'
            when answer.status = 'opted_out' then 'contact_after_opt_out'
            when answer.status = 'restricted' then 'contact_while_restricted'
            else 'contact_without_basis'
        end as kind,
        canonical_id, candidate_id, seq, occurred_at as since, null::timestamptz as due_at,
        [seq, answer.because_seq] as seqs
    from touch
    left join stood using (seq)
    where not coalesce(answer.contactable, false)
),
-- ── what was due: since when, within how many months, days or hours ──
obtained as (
    select canonical_id, arg_min(candidate_id, moment) as candidate_id, arg_min(seq, moment) as seq,
        min(occurred_at) as obtained_at
    from happened
    where type = 'sourced' and actor_kind is distinct from 'candidate'
        and canonical_id not in (select canonical_id from happened where type = 'notice_given')
    group by canonical_id
),
untold as (
    select obtained.*, arg_min(touch.seq, (touch.occurred_at, touch.seq)) as contact_seq,
        min(touch.occurred_at) as contact_at
    from obtained
    left join touch on touch.canonical_id = obtained.canonical_id and touch.type <> 'opened'
    group by all
),
-- What a person did with us. A word against contact is no reason to keep the data longer.
act as (
    select canonical_id, max((occurred_at, seq, candidate_id)) as last
    from engagement_score
    where made_by = 'human' and occurred_at <= as_of()
        and type not in ('opened', 'opted_out', 'complained', 'consent_withdrawn')
    group by canonical_id
),
applying as (
    select canonical_id, job, type, moment, (occurred_at, seq, candidate_id) as place,
        -- A rejection that names no job is one for every job before it.
        max(moment) filter (type = 'rejected' and job is null) over (partition by canonical_id) as all_rejected,
        max(moment) filter (type = 'rejected') over (partition by canonical_id) as last_rejected
    from happened
    where type in ('applied', 'stage_changed', 'rejected', 'hired')
),
application as (
    select canonical_id, max(place) as last,
        -- Nothing comes before a rejection that there is not; `bool_and` passes over what is null.
        coalesce(
            arg_max(type, moment) = 'rejected' or max(moment) < any_value(all_rejected)
                or job is null and max(moment) < any_value(last_rejected),
            false) as is_rejected
    from applying
    group by canonical_id, job
),
-- Who was turned down for every job.
rejected as (
    select canonical_id, max(last) as last
    from application
    group by canonical_id
    having bool_and(is_rejected)
),
kept as (
    select
        person.*,
        rejected.last is not null and (act.last is null or rejected.last > act.last) as is_rejected,
        case
            when is_rejected then rejected.last
            else coalesce(act.last, (first_at, first_seq, first_candidate_id))
        end as last
    from person
    left join act using (canonical_id)
    left join rejected
        on rejected.canonical_id = person.canonical_id
        and rejected.canonical_id not in (
            select canonical_id from standing where status = 'consent' and purpose = 'recruiting')
    where person.canonical_id not in (select canonical_id from standing where status = 'restricted')
),
-- What recipients are to be told, and has not been said to any.
to_tell as (
    select canonical_id, candidate_id, closed_seq as seq, closed_at as at_, asks_for as about, request_id
    from requests
    where outcome = 'fulfilled' and asks_for in ('rectification', 'erasure')
    union all by name
    select canonical_id, candidate_id, seq, occurred_at as at_, 'restriction' as about,
        try_cast(matter ->> '$.request' as uuid) as request_id
    from happened
    where type = 'restricted'
),
unsaid as (
    from to_tell
    anti join (
        select canonical_id, occurred_at, matter ->> '$.about' as about,
            try_cast(matter ->> '$.request' as uuid) as request_id
        from happened
        where type = 'recipient_notified'
    ) told
        on told.canonical_id = to_tell.canonical_id and told.about = to_tell.about
        and (told.request_id = to_tell.request_id
            or (told.request_id is null or to_tell.request_id is null) and told.occurred_at >= to_tell.at_)
),
late as (
    from happened where type in ('opted_out', 'complained', 'consent_withdrawn') and recorded_at > occurred_at
),
held as (
    select i.canonical_id, min(e.recorded_at) as held_from
    from events e
    join identity i on i.candidate_id = e.id
    where i.canonical_id in (select canonical_id from late)
    group by i.canonical_id
),
-- A basis there was once, and there is none any more for any use but to keep who is not to be written to. Where one is
-- left that asks for consent, the person may still give it.
ended as (
    select
        'basis_ended' as kind, canonical_id, arg_max(candidate_id, because_seq) as candidate_id,
        max(because_seq) as seq, max(valid_from) as since, list_sort(list_distinct(list(because_seq))) as seqs,
        bool_or(status = 'consent_missing') as is_waiting
    from standing
    where purpose <> 'open_tracking' and status in ('withdrawn', 'expired', 'consent_missing')
        and canonical_id not in (
            select canonical_id
            from standing
            where purpose <> 'open_tracking' and (
                status not in ('withdrawn', 'expired', 'consent_missing', 'no_basis', 'opted_out')
                or status = 'opted_out' and channel = '*'))
    group by canonical_id
),
due as (
    select
        'notice_overdue' as kind, canonical_id, candidate_id, seq, obtained_at as at_,
        notice_months as months,
        case when contact_at is not null then greatest(obtained_at, contact_at) end as at_the_latest,
        [seq, contact_seq] as seqs
    from untold
    join person using (canonical_id)
    union all by name
    select
        'retention_due' as kind, canonical_id, last[3] as candidate_id, last[2] as seq, last[1] as at_,
        case when is_rejected then rejected_months else retention_months end as months, [seq] as seqs
    from kept
    union all by name
    select kind, canonical_id, candidate_id, seq, since as at_, notice_months as months, seqs
    from ended
    join person using (canonical_id)
    where is_waiting
    union all by name
    select
        'consent_old' as kind, canonical_id, candidate_id, seq, occurred_at as at_, consent_refresh_months as months,
        [seq] as seqs
    from happened
    join person using (canonical_id)
    where type = 'consent_given' and seq in (select because_seq from standing where status = 'consent')
),
dated as (
    select
        kind, canonical_id, candidate_id, seq,
        least(
            (date_trunc('day', at_ at time zone 'UTC') + to_months(months) + to_days(1)) at time zone 'UTC',
            at_the_latest
        ) as due_at,
        seqs
    from due
    union all
    select 'request_overdue', canonical_id, candidate_id, received_seq, due_at,
        [received_seq, extended_seq]
    from requests
    where state = 'overdue'
    union all
    select 'opt_out_honoured_late', canonical_id, candidate_id, seq,
        greatest(occurred_at, held_from) + to_hours(opt_out_hours) as due_at, [seq]
    from late
    join held using (canonical_id)
    join person using (canonical_id)
    where recorded_at > due_at
    union all
    select 'recipients_not_told', canonical_id, candidate_id, seq, at_ + to_days(tell_recipients_days), [seq]
    from unsaid
    join person using (canonical_id)
),
-- ── what is not there ──
missing as (
    select 'basis_missing' as kind, canonical_id, first_candidate_id as candidate_id, first_seq as seq,
        first_at as since
    from person
    where canonical_id not in (
        select canonical_id
        from happened
        where type in ('basis_recorded', 'consent_given') and purpose <> 'open_tracking')
    union all
    select 'lia_missing', canonical_id, candidate_id, seq, occurred_at
    from happened
    where type = 'basis_recorded'
        and seq in (select because_seq from standing where status = 'legitimate_interest' and lia is null)
),
found as (
    select kind, canonical_id, candidate_id, seq, since, due_at, seqs
    from reached
    union all
    select kind, canonical_id, candidate_id, seq, since, null, seqs from ended where not is_waiting
    union all
    select kind, canonical_id, candidate_id, seq, due_at, due_at, seqs from dated where due_at <= as_of()
    union all
    select kind, canonical_id, candidate_id, seq, since, null, [seq] from missing
)
select
    found.kind, found.canonical_id, found.candidate_id, kinds.severity, found.since, found.due_at, kinds.article,
    kinds.what_to_do, found.seq, list_filter(found.seqs, lambda s: s is not null) as seqs
from found
join finding_kinds kinds on kinds.kind = found.kind
