select
    4 as max_touches_30d,
    180 as dormant_days,
    90 as neglected_days,
    12 as stale_months,
    90 as sample_days
