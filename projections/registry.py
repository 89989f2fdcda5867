"""The views there are, each after those it depends on."""

from projections.engagement_score import VIEW as ENGAGEMENT_SCORE
from projections.facts import VIEW as FACTS
from projections.gdpr_audit import VIEW as GDPR_AUDIT
from projections.identity import VIEW as IDENTITY
from projections.pool_membership import VIEW as POOL_MEMBERSHIP
from projections.pools import VIEW as POOLS
from projections.profile import VIEW as PROFILE
from projections.view import View

VIEWS = (IDENTITY, POOLS, GDPR_AUDIT, ENGAGEMENT_SCORE, FACTS, POOL_MEMBERSHIP, PROFILE)


def resting_on(view: View) -> tuple[View, ...]:
    """`view` and every view whose contents rest on it, in order."""
    found: list[View] = []
    for candidate in VIEWS:
        if candidate is view or any(d in found for d in candidate.depends_on):
            found.append(candidate)
    return tuple(found)
