select
    e.seq, e.occurred_at, e.type, e.channel, e.campaign, e.candidate_id, e.points, e.counted, e.made_by, e.reason,
    if(e.counted, e.points * pow(2, -(epoch($as_of) - epoch(e.occurred_at)) / 86400 / model.half_life_days), 0)
        as adds
from engagement_score e
cross join ops.engagement_model model
where e.canonical_id = $canonical_id and e.occurred_at <= $as_of
order by e.occurred_at desc, e.seq desc
