-- Consent and identity pass over nothing that can be read: an opt-out must not wait behind a broken event.
create or replace temp view scope_events as
from scope_audit_events where not waits
