-- What the rules in force ask for most.
select part, attribute, count(*) as pools
from pool_rule
where valid_to is null and archived_at is null
group by part, attribute
order by pools desc
