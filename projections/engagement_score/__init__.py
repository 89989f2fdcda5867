"""What each act of a person adds to their engagement, and why it does or does not count.

A row is an act: what the person did or said, and what else the model gives points for. The score as of any time is a
closed form over them (`queries/score.sql`); between two acts `raw` only fades. It is summed from one fixed time, 2035:
with a half-life of 24 days or more that stays in range from 1970 to 2100.

An open or click was made by a *machine* when its provider says so, when it follows the sending or delivery of its
message within `machine_within_s`, or when at least three links of its message were followed within two seconds before
or after it, as scanners do. Where the provider says nothing it is *unknown*. Neither counts. These are judgements of
this version of the view: the events themselves stay as they came.
"""

import json

from duckdb import DuckDBPyConnection

from domain.engagement import ENGAGEMENT_MODEL, EngagementModel
from projections import sql

MODEL = ENGAGEMENT_MODEL.model_dump(mode="json")
CONSTANTS = json.dumps(MODEL, sort_keys=True)


def put(connection: DuckDBPyConnection, model: EngagementModel) -> None:
    """Make `model` the one by which the view is computed on this connection: `ops.engagement_model`."""
    connection.execute(sql.load(__name__, "model.sql"), [model.model_dump_json()])


def prepare(connection: DuckDBPyConnection) -> None:
    """Put the engagement model of the domain into `ops.engagement_model`."""
    put(connection, ENGAGEMENT_MODEL)
