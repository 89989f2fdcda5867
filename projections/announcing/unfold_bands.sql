delete from ops.announced_bands where canonical_id in (select unnest($persons::uuid[]))
