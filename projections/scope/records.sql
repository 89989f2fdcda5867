-- Every record that is, or was, of one person with those touched.
create or replace temp table scope_old_persons as
select canonical_id from identity where candidate_id in (select id from scope_touched)
union
select id from scope_touched;

create or replace temp table scope_records as
select candidate_id from identity where canonical_id in (select canonical_id from scope_old_persons)
union
select id from scope_touched;

create or replace temp table scope_usable as
from pii.usable where id in (select candidate_id from scope_records);
