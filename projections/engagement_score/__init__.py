"""What each act of a person adds to their engagement, and why it does or does not count.

A row is a contribution; the score as of any time is a closed form over them (`queries/score.sql`).
"""

import json
from dataclasses import asdict

from duckdb import DuckDBPyConnection

from domain.policy import ENGAGEMENT_MODEL, MACHINE_OPEN_WITHIN_S
from projections import gdpr_audit, identity, sql
from projections.view import View

ACTS = frozenset({"opened", "clicked", "replied", "event_attended", "bounced", "complained"})
SENDINGS = frozenset({"emailed", "messaged", "delivered"})


def load_model(connection: DuckDBPyConnection) -> None:
    """Put the engagement model of the domain into `ops.engagement_model`."""
    model = asdict(ENGAGEMENT_MODEL) | {"machine_within_s": MACHINE_OPEN_WITHIN_S}
    connection.execute(sql.load(__name__, "model.sql"), [json.dumps(model)])


VIEW = View(
    name="engagement_score",
    keys=("canonical_id",),
    types=ACTS | SENDINGS | frozenset(ENGAGEMENT_MODEL.weight_points),
    depends_on=(identity.VIEW, gdpr_audit.VIEW),
    constants=json.dumps([asdict(ENGAGEMENT_MODEL), MACHINE_OPEN_WITHIN_S], sort_keys=True),
    prepare=load_model,
)
