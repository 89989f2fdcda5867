create or replace temp table scope_new as
select kind, id, type, target_id, occurred_at from pii.events where seq > $after
