-- Consent and identity pass over nothing that can be read: an opt-out must not wait behind a broken event.
create or replace temp view scope_audit_events as
select
    u.*, i.canonical_id,
    -- When it happened and, for a tie, the ledger's order: one number, which compares faster than two.
    epoch_us(u.occurred_at)::hugeint * (1::hugeint << 63) + u.seq as moment
from scope_usable u
join identity i on i.candidate_id = u.id
where u.kind = 'candidate' and i.canonical_id in (select canonical_id from scope_persons);

create or replace temp view scope_events as
from scope_audit_events where not waits;

create or replace temp view scope_pool_events as
from scope_usable
where kind = 'pool' and not waits and id in (select pool_id from scope_pools);
