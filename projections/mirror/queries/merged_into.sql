-- Records that are merged with one of these, by the last that was said of each, and are not among them. Not those whose merge
-- came behind the last event of the record they name: that merge is void.
with
given as (
    select unnest($records::uuid[]) as id
),
merge_ as (
    select id, arg_max(type, seq) as said, arg_max(target_id, seq) as target_id, max(seq) as seq
    from pii.events
    where type in ('merged', 'unmerged')
        and (id in (from given) or id in (select id from pii.events where target_id in (from given)))
    group by id
)
select replace(other::varchar, '-', '') as id
from (
    select merge_.id as other
    from merge_
    left join ops.erased gone on gone.id = target_id
    where said = 'merged' and target_id in (from given) and (gone.seq is null or merge_.seq < gone.seq)
    union
    select target_id from merge_ where said = 'merged' and id in (from given)
)
where other not in (from given)
order by id
