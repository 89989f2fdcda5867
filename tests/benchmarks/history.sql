-- What happens to whom, when, in the order of the ledger: $events rows about $candidates candidates and $pools pools.
-- The same parameters give the same rows. What an event says beyond this is made from its numbers (history.py).
with
person as (
    select
        n,
        n % 133 = 132 as is_duplicate,
        $since::timestamptz + to_seconds(chance(if(is_duplicate, n - 1, n), 1) * ($days - 40) * 86400)
            + to_seconds(if(is_duplicate, 86400 * (1 + 20 * chance(n, 2)), 0)) as sourced_at,
        n % 5 as family,
        -- A few are written to often, most hardly at all.
        least(10, floor(-3.4 * ln(1 - chance(n, 3))))::integer as messages,
        chance(n, 4) as fate
    from range($candidates) t(n)
),
message as (
    select
        n, family, k,
        sourced_at + to_seconds(86400 * (3 + 40 * k + 30 * chance(n, 100 + k))) as sent_at,
        sent_at + to_milliseconds((2000 + 58000 * chance(n, 120 + k))::bigint) as delivered_at,
        k = messages - 1 as is_last,
        chance(n, 140 + k) < 0.035 as bounces,
        chance(n, 160 + k) as opens,
        strftime(sent_at, '%Y-%m') || ['-backend', '-frontend', '-data', '-people', '-sales'][family + 1] as campaign
    from person, range(10) t(k)
    where k < messages
),
-- kind, who, what, when, which message, by a machine, whom else it concerns, latest possible delay on the way in days
happening as (
    select 'candidate' as kind, n, 'sourced' as type, sourced_at as occurred_at, null::integer as k,
        null::varchar as campaign, null::boolean as machine, null::bigint as target, 0 as delay_days
    from person
    union all by name
    select 'candidate' as kind, n, 'tagged' as type, sourced_at + to_seconds(60 + k) as occurred_at, k
    from person, range(3) t(k) where chance(n, 10 + k) < 0.5
    union all by name
    select 'candidate' as kind, n, 'untagged' as type, sourced_at + to_seconds(86400 * 200) as occurred_at, 0 as k
    from person where chance(n, 10) < 0.05
    union all by name
    select 'candidate' as kind, n, 'basis_recorded' as type, sourced_at + to_seconds(30) as occurred_at
    from person where chance(n, 20) < 0.85
    union all by name
    select 'candidate' as kind, n, 'notice_given' as type,
        sourced_at + to_seconds(86400 * 35 * chance(n, 22)) as occurred_at, 5 as delay_days
    from person where chance(n, 21) < 0.9
    union all by name
    select 'candidate' as kind, n, 'consent_given' as type, sourced_at + to_seconds(86400 * (1 + k)) as occurred_at, k,
        10 as delay_days
    from person, range(2) t(k) where chance(n, 23 + k) < if(k = 0, 0.35, 0.15)
    union all by name
    select 'candidate' as kind, n, 'profile_corrected' as type,
        sourced_at + to_seconds(86400 * 300 * chance(n, 26)) as occurred_at, 20 as delay_days
    from person where chance(n, 25) < 0.1
    union all by name
    select 'candidate' as kind, n, 'messaged' as type,
        sourced_at + to_seconds(86400 * 90 * chance(n, 28)) as occurred_at, 3 as delay_days
    from person where chance(n, 27) < 0.2
    union all by name
    select 'candidate' as kind, n, 'event_attended' as type,
        sourced_at + to_seconds(86400 * 250 * chance(n, 31)) as occurred_at, 30 as delay_days
    from person where chance(n, 30) < 0.15
    union all by name
    select 'candidate' as kind, n, 'preferences_updated' as type,
        sourced_at + to_seconds(86400 * 100 * chance(n, 33)) as occurred_at
    from person where chance(n, 32) < 0.1
    union all by name
    select 'candidate' as kind, n, 'emailed' as type, sent_at as occurred_at, k, campaign from message
    union all by name
    select 'candidate' as kind, n, 'bounced' as type, delivered_at as occurred_at, k, campaign, 1 as delay_days
    from message where bounces
    union all by name
    select 'candidate' as kind, n, 'delivered' as type, delivered_at as occurred_at, k, campaign
    from message where not bounces
    union all by name
    select 'candidate' as kind, n, 'opened' as type,
        delivered_at + to_milliseconds((300 + 1500 * chance(n, 180 + k))::bigint) as occurred_at, k, campaign,
        if(n % 3 = 0, null, true) as machine
    from message where not bounces and chance(n, 200 + k) < 0.3
    union all by name
    select 'candidate' as kind, n, 'opened' as type,
        delivered_at + to_seconds(-86400 * ln(1 - chance(n, 220 + k))) as occurred_at, k, campaign,
        if(n % 7 = 0, null, false) as machine, 7 as delay_days
    from message where not bounces and opens < 0.5
    union all by name
    select 'candidate' as kind, n, 'clicked' as type,
        delivered_at + to_seconds(60 - 86400 * ln(1 - chance(n, 220 + k))) as occurred_at, k, campaign,
        false as machine, 7 as delay_days
    from message where not bounces and opens < 0.2
    union all by name
    select 'candidate' as kind, n, 'replied' as type,
        delivered_at + to_seconds(86400 * (0.2 - ln(1 - chance(n, 240 + k)))) as occurred_at, k, campaign,
        14 as delay_days
    from message where not bounces and opens between 0.1 and 0.25
    union all by name
    select 'candidate' as kind, n, 'complained' as type, delivered_at + to_seconds(7200) as occurred_at, k, campaign
    from message where not bounces and is_last and opens > 0.99
    union all by name
    select 'candidate' as kind, n, 'opted_out' as type, delivered_at + to_seconds(3600) as occurred_at, k, campaign
    from message where not bounces and is_last and opens between 0.8 and 0.9
    union all by name
    select 'candidate' as kind, n, 'opted_in' as type, delivered_at + to_seconds(86400 * 40) as occurred_at, k
    from message where not bounces and is_last and opens between 0.8 and 0.825
    union all by name
    select 'candidate' as kind, n, 'consent_withdrawn' as type, sourced_at + to_seconds(86400 * 150) as occurred_at
    from person where chance(n, 24) < 0.01
    union all by name
    select 'candidate' as kind, n, stage.type, sourced_at + to_seconds(86400 * (20 + stage.day)) as occurred_at,
        stage.k, 2 as delay_days
    from person, (values
        (0, 'applied', 0, 0.12), (1, 'stage_changed', 5, 0.10), (2, 'stage_changed', 15, 0.06),
        (3, 'stage_changed', 25, 0.03), (4, 'hired', 40, 0.02)) stage(k, type, day, share)
    where fate < share
    union all by name
    select 'candidate' as kind, n, 'rejected' as type, sourced_at + to_seconds(86400 * 62) as occurred_at
    from person where fate between 0.02 and 0.1
    union all by name
    select 'candidate' as kind, n, 'merged' as type, sourced_at + to_seconds(86400 * 4) as occurred_at, n - 1 as target
    from person where is_duplicate
    union all by name
    select 'candidate' as kind, n, 'unmerged' as type, sourced_at + to_seconds(86400 * 12) as occurred_at,
        n - 1 as target
    from person where is_duplicate and chance(n, 5) < 0.1
    union all by name
    select 'pool' as kind, n, 'created' as type, $since::timestamptz as occurred_at from range($pools) t(n)
    union all by name
    select 'pool' as kind, n, 'rule_changed' as type, $since::timestamptz + to_days(400) as occurred_at
    from range($pools) t(n) where n % 6 = 1
    union all by name
    select 'pool' as kind, p as n, case when n % 3 = 0 then 'candidate_excluded' else 'candidate_pinned' end as type,
        sourced_at + to_days(10) as occurred_at, n as target
    from person, range($pools) t(p)
    where chance(n, 300 + p) < 30 / $candidates
),
-- In life a fact is recorded when it happens, or when a provider, an import or a colleague gets to it.
arriving as (
    select *,
        hash(kind, n, type, k, machine, target) as tie,
        occurred_at + to_seconds(if(chance(tie % 1000000007, 7) < 0.06,
            86400 * coalesce(delay_days, 0) * chance(tie % 1000000007, 8), 0)) as arrives_at
    from happening
    where type in (select unnest($types::varchar[])) and occurred_at <= $since::timestamptz + to_days($days)
),
ordered as (
    select *, row_number() over (order by arrives_at, tie, kind, n, type, k) as seq
    from arriving
    qualify seq <= $events
)
select
    seq, kind, n, type, occurred_at, k, campaign, machine, target,
    row_number() over (partition by kind, n order by seq) as version,
    coalesce(lag(seq) over (partition by kind, n order by seq), 0) as previous_seq
from ordered
order by seq
