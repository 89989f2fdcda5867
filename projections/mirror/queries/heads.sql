select kind || '-' || coalesce(odd_id, replace(id::varchar, '-', '')) as name, max(version) as version
from pii.events
where id in (select coalesce(try_cast(name as uuid), md5(name)::uuid) from unnest($ids::varchar[]) as asked(name))
    and seq <= coalesce($until, seq)
group by all
