-- The twenty most engaged people who may be written to.
select canonical_id, score, last_engaged_at
from engagement
where not opted_out and not hard_bounced
order by score desc
limit 20
