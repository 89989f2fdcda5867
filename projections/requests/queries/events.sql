-- Every event that names the request.
select seq, type, id as record, occurred_at, recorded_at, actor_kind, channel, matter
from events
where matter ->> '$.request' = replace($request_id, '-', '')
    and type in (
        'request_received', 'request_extended', 'request_closed', 'restricted', 'restriction_lifted',
        'recipient_notified')
order by seq
