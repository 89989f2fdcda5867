-- The pools in use, with their rules.
select name, rule from pii.pools where archived_at is null order by name
