select canonical_id, if(score >= $hot_from, 'hot', 'warm') as band
from engagement
where score >= $warm_from
