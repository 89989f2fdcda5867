select seq, name, version, type, version_before
from (
    select
        seq, kind || '-' || coalesce(odd_id, replace(id::varchar, '-', '')) as name,
        coalesce(version, 0) as version, coalesce(type, '') as type,
        coalesce(lag(version) over (partition by kind, id order by seq), 0) as version_before
    from pii.events
)
where version != version_before + 1
order by seq
