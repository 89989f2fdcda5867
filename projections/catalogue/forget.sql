delete from ops.views
where name in (select unnest($names))
