-- The most particular row in force: this channel before any channel, this purpose before any purpose.
select * exclude (canonical_id)
from gdpr_audit
where canonical_id = $canonical_id
    and channel in ($channel, '*')
    and purpose in ($purpose, '*')
    and valid_from <= $as_of
    and (valid_to is null or $as_of < valid_to)
order by channel = '*', purpose = '*'
limit 1
