create or replace temp table scope_new as
select kind, id, type, target_id from events where seq > $after;
