create or replace temp table scope_persons as
from scope_old_persons
union
select canonical_id from identity where candidate_id in (select candidate_id from scope_records);
