insert into ops.announced_bands
from (select unnest($persons::uuid[]) as canonical_id, unnest($bands::varchar[]) as band)
where band <> 'cold'
