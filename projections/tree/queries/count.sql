select count(*) as entries from pii.events
