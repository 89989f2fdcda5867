select kind, identifier, replace(arg_min(id, seq)::varchar, '-', '') as id
from (
    select 'candidate' as kind, seq, id, unnest(identifiers) as identifier from pii.events
    union all
    select kind, seq, id, name from pii.events where kind = 'pool' and type = 'created'
)
group by all
order by min(seq)
