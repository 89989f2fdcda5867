-- Every record that is, or was, of one person with those touched.
create or replace temp table scope_old_persons as
select canonical_id from identity where candidate_id in (select id from scope_touched)
union
select id from scope_touched;

create or replace temp table scope_records as
select candidate_id from identity where canonical_id in (select canonical_id from scope_old_persons)
union
select id from scope_touched;

-- Both halves are looked up by themselves: a join would read the whole of the second.
create or replace temp table scope_rows as
from main.events
where id in (
    select candidate_id from scope_records
    union
    select pool_id from pii.pools
    union
    select id from scope_new where kind = 'pool'
);

create or replace temp table scope_personal as
from pii.events where seq in (select seq from scope_rows);
