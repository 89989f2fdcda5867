-- People who have more than one record.
select canonical_id, count(*) as records
from identity
group by canonical_id
having records > 1
order by records desc
