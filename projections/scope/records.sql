-- Every record that is, or was, of one person with those that the new events name, each with who it stood for.
-- A merge, an unmerge and a pin name a second record.
create or replace temp table scope_records as
with
touched as (
    select id from scope_new where kind = 'candidate'
    union
    select target_id from scope_new where target_id is not null
),
old as (
    select canonical_id from identity where candidate_id in (from touched)
    union
    from touched
)
select candidate_id, canonical_id as old_id from identity where canonical_id in (from old)
union
select id, id from touched
