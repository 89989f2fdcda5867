select count(distinct id) as aggregates
from pii.events
where odd_id is null and seq not in (select seq from ops.dead_letters)
