select
    canonical_id, seq, occurred_at, type,
    previous_act_at as dormant_since,
    (epoch_us(occurred_at) - epoch_us(previous_act_at)) // 86_400_000_000 as dormant_days
from engagement_score
where occurred_at <= as_of() and made_by = 'human' and type <> 'opened'
    and epoch_us(occurred_at) - epoch_us(previous_act_at) >= (select dormant_days from thresholds) * 86_400_000_000
