create or replace temp view scope_of_persons as
select
    u.* exclude (waits), i.canonical_id,
    -- When it happened and, for a tie, the ledger's order: one number, which compares faster than two.
    epoch_us(u.occurred_at)::hugeint * (1::hugeint << 63) + u.seq as moment,
    u.waits
from scope_usable u
join identity i on i.candidate_id = u.id
where u.kind = 'candidate' and i.canonical_id in (select canonical_id from scope_persons)
