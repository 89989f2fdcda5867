-- What kinds of events are new, whether one is the first of a person that is known so far, and whether pools changed.
select
    list(distinct type) as types,
    coalesce(bool_or(
        new.kind = 'candidate'
        and (person.canonical_id is null or new.occurred_at is null or new.occurred_at < person.first_seen_at)
    ), false) as begins,
    coalesce(bool_or(new.kind = 'pool' and type in ('created', 'rule_changed', 'archived')), false) as pools
from scope_new new
left join identity i on i.candidate_id = new.id
left join pii.profile person using (canonical_id)
