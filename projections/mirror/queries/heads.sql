select kind || '-' || id as name, max(version) as version
from main.events
where id in (select unnest($ids))
group by all
