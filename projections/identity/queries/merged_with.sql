-- The records that were merged into the given one or it into them, whether or not that was undone since. What else is asked
-- of the rows comes after the index: with a second filter DuckDB looks through the whole table.
with
merging as materialized (select target_id, kind, type from pii.events where id = $candidate_id::uuid),
merged as materialized (select id, kind, type from pii.events where target_id = $candidate_id::uuid)
select target_id as candidate_id from merging where kind = 'candidate' and type = 'merged' and target_id is not null  -- none of one that cannot be read
union
select id from merged where kind = 'candidate' and type = 'merged'
