select count(*) as events, count(distinct id) filter (where kind = 'candidate') as candidates
from main.events e
semi join (select unnest($firsts::bigint[]) as first, unnest($lasts::bigint[]) as last) g
    on e.seq >= g.first and e.seq <= g.last
