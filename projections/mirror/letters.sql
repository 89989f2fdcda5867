insert into ops.dead_letters by name
select seq, coalesce(try_cast(id as uuid), md5(id)::uuid) as id, version, problem, now() as noticed_at
from batch
where problem is not null
