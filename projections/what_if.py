"""The ranking that another engagement model would give, beside the one in force. Nothing that is kept is touched."""

from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

from domain.engagement import EngagementModel
from projections import engagement_score, queries, sql
from projections.computing import PART_EVENTS, Progress, compute_part, define, nobody
from projections.overlay import overlay
from projections.view import View

if TYPE_CHECKING:
    from projections.projector import Projector

NAME = "engagement_score"


def what_if(
    projector: "Projector",
    model: EngagementModel,
    as_of: datetime,
    limit: int,
    on_progress: Progress = nobody,
    wait_s: float | None = None,
) -> list[dict[str, Any]]:
    """The `limit` persons with the highest scores under `model` as of `as_of`, best first.

    Each with `rank` and `score` under it, and `rank_now`, `score_now` under the model in force; null for who has none.
    The acts are judged anew, for the model also says how soon a machine opens. Raises ComputingBusy when something
    else is computed over everybody for longer than `wait_s`; without a time it is waited for.
    """
    view = {v.name: v for v in projector.views}[NAME]
    with (
        projector.known.computing.turn(wait_s) as turn,
        closing(projector.cursor()) as connection,
        overlay(connection) as over,
        turn.on(connection),
    ):
        connection.execute(sql.load("projections.engagement_score", "queries/ranked_before.sql"), {"as_of": as_of})
        connection.execute("create or replace temp table engagement_model_before as from ops.engagement_model")
        connection.execute("drop view " + over.above("ops.engagement_model"))
        engagement_score.put(connection, model)

        def place(_view: View) -> str:
            return over.above("main.engagement_score__what_if")

        define(over, [view], place)
        events: int = sql.value(connection, "select events from ops.checkpoint")
        parts = 1 + events // PART_EVENTS
        for part in range(1, parts + 1):
            compute_part(over, [view], place, part, parts, on_progress)
        return queries.rows(connection, NAME, "what_if", as_of=as_of, limit=limit)
