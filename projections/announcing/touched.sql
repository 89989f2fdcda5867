-- Whether the events behind $after may have moved anybody, and else whom; with those whose time came since $before.
with new as (
    select kind, id, type
    from pii.events
    where seq > $after and seq <= $until
),
person as (
    select i.canonical_id
    from new
    join identity i on i.candidate_id = new.id
    where new.kind = 'candidate'
    union
    select canonical_id
    from pool_membership
    where (joined_at > $before and joined_at <= $at) or (left_at > $before and left_at <= $at)
)
select
    exists (from new where kind = 'pool' or type in ('merged', 'unmerged', 'erased')) as anybody,
    (select list(canonical_id order by canonical_id) from person) as persons
