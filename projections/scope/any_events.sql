create or replace temp view scope_audit_events as from scope_of_persons
