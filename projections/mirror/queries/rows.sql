select 'events' as name, count(*) as rows from pii.events
union all select 'dead_letters', count(*) from ops.dead_letters
