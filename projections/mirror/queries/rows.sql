select 'events' as name, count(*) as rows from main.events
union all select 'pii.events', count(*) from pii.events
union all select 'dead_letters', count(*) from ops.dead_letters
