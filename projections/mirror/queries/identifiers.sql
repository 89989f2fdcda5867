select kind, identifier, arg_min(id, seq) as id
from (
    select 'candidate' as kind, seq, id, unnest(identifiers) as identifier from pii.events
    union all
    select e.kind, p.seq, p.id, p.name
    from pii.events p join main.events e using (seq)
    where e.kind = 'pool' and e.type = 'created'
)
group by all
order by min(seq)
