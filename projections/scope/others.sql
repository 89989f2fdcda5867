create or replace temp table scope_persons as
select distinct canonical_id from identity
where canonical_id not in (select canonical_id from scope_persons)
