insert into ops.announced_members
select unnest($pools::uuid[]), unnest($persons::uuid[])
