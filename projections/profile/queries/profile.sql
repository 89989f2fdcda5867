select * from pii.profile where canonical_id = $canonical_id
