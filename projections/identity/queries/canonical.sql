select canonical_id from identity where candidate_id = $candidate_id
