select distinct unnest(identifiers) as identifier
from pii.events
where id in (select unnest($records::uuid[]))
