create or replace temp table scope_persons as
select old_id as canonical_id from scope_records
union
select canonical_id from identity where candidate_id in (select candidate_id from scope_records)
