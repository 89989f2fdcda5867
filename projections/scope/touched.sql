-- Records named by the new events. A merge, an unmerge and a pin name a second record, which they touch as well.
create or replace temp table scope_touched as
select id from scope_new where kind = 'candidate'
union
select target_id from scope_new where target_id is not null;
