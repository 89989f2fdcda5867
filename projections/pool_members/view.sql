select pool_id, canonical_id, joined_at
from pool_membership
where joined_at <= as_of() and (left_at is null or as_of() < left_at)
