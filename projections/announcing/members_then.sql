select pool_id, canonical_id
from pool_membership
where joined_at <= $at and (left_at is null or $at < left_at)
