-- What kinds of events are new, and whether one of them is the first of a person that is known so far.
select
    list(distinct type) as types,
    coalesce(bool_or(
        new.kind = 'candidate'
        and (person.canonical_id is null or new.occurred_at is null or new.occurred_at < person.first_seen_at)
    ), false) as begins
from scope_new new
left join identity i on i.candidate_id = new.id
left join pii.profile person using (canonical_id)
