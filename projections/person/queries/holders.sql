select distinct id as record
from pii.events
where kind = 'candidate' and list_has_any(identifiers, $identifiers::varchar[])
order by record
