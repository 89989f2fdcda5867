-- Records that are merged into one of these, by the last that was said of each, and are not among them.
select replace(id::varchar, '-', '') as id
from (
    select id, arg_max(type, seq) as said, arg_max(target_id, seq) as target_id
    from pii.events
    where id in (select id from pii.events where target_id in (select unnest($records::uuid[])))
        and type in ('merged', 'unmerged')
    group by id
)
where said = 'merged'
    and target_id in (select unnest($records::uuid[])) and id not in (select unnest($records::uuid[]))
order by id
