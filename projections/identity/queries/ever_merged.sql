-- Every record that is or ever was one person with the given one: merges undone since are followed too.
with recursive
merges as (
    select id as one, target_id as other from events where kind = 'candidate' and type = 'merged'
    union
    select target_id, id from events where kind = 'candidate' and type = 'merged'
),
reached(id) as (
    select $candidate_id::uuid
    union
    select merges.other from reached join merges on merges.one = reached.id
)
select id as candidate_id from reached order by id
