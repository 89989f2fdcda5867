-- How many events wait behind one that cannot be used.
select count(*)
from pii.events e
join ops.broken b on e.id = b.id and e.seq > b.first_seq
where e.seq not in (select seq from ops.dead_letters)
