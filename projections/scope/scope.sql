create or replace temp view scope_events as
select
    u.*, i.canonical_id,
    -- When it happened and, for a tie, the ledger's order: one number, which compares faster than two.
    epoch_us(u.occurred_at)::hugeint * (1::hugeint << 63) + u.seq as moment
from scope_usable u
join identity i on i.candidate_id = u.id
where u.kind = 'candidate' and i.canonical_id in (select canonical_id from scope_persons);

create or replace temp view scope_pool_events as
from pii.usable
where kind = 'pool' and id in (select pool_id from scope_pools);
