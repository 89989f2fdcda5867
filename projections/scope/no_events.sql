create or replace temp table scope_audit_events as from scope_of_persons with no data
