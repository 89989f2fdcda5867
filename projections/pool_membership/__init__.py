"""Who was in which pool when, as intervals. Rules are rows that meet facts as rows; no rule becomes SQL text."""

from projections import facts, gdpr_audit, identity, pools
from projections.view import View

VIEW = View(
    name="pool_membership",
    keys=("canonical_id", "pool_id"),
    types=frozenset({"candidate_pinned", "candidate_unpinned", "candidate_excluded"}),
    depends_on=(identity.VIEW, pools.VIEW, gdpr_audit.VIEW, facts.VIEW),
)
