select candidate_id, canonical_id, merged_into, merged_seq
from identity
where canonical_id = coalesce(
    (select canonical_id from identity where candidate_id = $candidate_id),
    $candidate_id)
order by candidate_id
