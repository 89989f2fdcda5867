delete from ops.announced_members
using (select unnest($pools::uuid[]) as pool_id, unnest($persons::uuid[]) as canonical_id) told
where announced_members.pool_id = told.pool_id and announced_members.canonical_id = told.canonical_id
