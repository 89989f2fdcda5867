select kind || '-' || id as name, max(version) as version
from main.events
where id in (select unnest($ids)) and seq <= coalesce($until, seq)
group by all
