-- What has to be answered next.
select request_id, canonical_id, asks_for, due_at, state
from requests
where state <> 'closed'
order by due_at
