insert into ops.views
select $1, $2, $3, null, null, now(), 0
where not exists (from ops.views where name = 'mirror')
