-- How membership at $at differs from what was told, of these persons or of all.
with concerned as (
    select unnest($persons::uuid[]) as canonical_id
),
in_now as (
    select pool_id, canonical_id, joined_seq as seq, joined_at as at_
    from pool_membership
    where joined_at <= $at and (left_at is null or $at < left_at)
        and ($whole or canonical_id in (select canonical_id from concerned))
),
told as (
    select pool_id, canonical_id
    from ops.announced_members
    where $whole or canonical_id in (select canonical_id from concerned)
),
gone as (
    from told
    anti join in_now using (pool_id, canonical_id)
),
-- When nothing says since when somebody is out, they never were in, as it is known by now.
ended as (
    select pool_id, canonical_id, max(left_at) as at_, arg_max_null(left_seq, left_at) as seq
    from pool_membership
    semi join gone using (pool_id, canonical_id)
    where left_at <= $at
    group by pool_id, canonical_id
)
select 'left' as change, pool_id, canonical_id, ended.seq, coalesce(ended.at_, $at) as at_
from gone
left join ended using (pool_id, canonical_id)
union all by name
select 'joined' as change, in_now.*
from in_now
anti join told using (pool_id, canonical_id)
order by pool_id, canonical_id, change
