"""One row a person: the latest word on each field across their records. Personal data; schema `pii`."""

from projections import engagement_score, identity
from projections.view import View

VIEW = View(
    name="profile",
    schema="pii",
    keys=("canonical_id",),
    depends_on=(identity.VIEW, engagement_score.VIEW),
)
