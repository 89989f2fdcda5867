select * exclude (canonical_id)
from gdpr_audit
where canonical_id = $canonical_id
order by purpose, channel, valid_from
