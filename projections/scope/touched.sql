-- Records named by the new events, and every record that is, or was, of one person with them.
-- A merge, an unmerge and a pin name a second record, which they touch as well.
create or replace temp table scope_touched as
select id from events where seq > $after and kind = 'candidate'
union
select target_id from events where seq > $after and target_id is not null;
