create or replace temp table scope_persons as
select distinct canonical_id from identity where hash(canonical_id) % $parts = $part
