select
    e.seq, e.recorded_at, e.id as record, e.version, e.type, e.occurred_at, e.body, e.fields,
    any_value(d.problem) as problem
from pii.events e
left join ops.dead_letters d using (seq)
where e.id in (select unnest($records::uuid[]))
group by all
order by e.seq
