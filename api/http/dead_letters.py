"""Dead letters: events that cannot be used, and trying them again."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.http.parameters import Cursor, NodeUpToDate
from api.http.problems import problem
from api.http.reads import reads
from consumers.retrying import retry
from domain.access import Read
from projections import queries

LONGEST = 300
"""Of a type or a reason, which come from what somebody wrote into the ledger."""

router = APIRouter(tags=["operations"])


class RetryRequest(BaseModel):
    """Which dead letters to try again."""

    model_config = ConfigDict(extra="forbid")

    seqs: Annotated[list[Annotated[int, Field(ge=1)]] | None, Field(max_length=10_000)] = None
    """All of them if absent."""


@router.get("/v1/dead-letters", summary="Events that cannot be used", openapi_extra=reads(Read.DEAD_LETTERS))
def dead_letters(cursor: Cursor) -> dict[str, Any]:
    """Each with its reason, and how many later events of its record wait behind it."""
    return {"dead_letters": [_shown(row) for row in queries.dead_letters(cursor)]}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    since: datetime = row["noticed_at"]
    return {
        "seq": row["seq"],
        "kind": row["kind"],
        "id": row["id"],
        "version": row["version"],
        "type": (row["type"] or "")[:LONGEST],
        "problem": row["problem"][:LONGEST],
        "waiting": row["waiting"],
        "since": since.isoformat(),
    }


@router.post(
    "/v1/dead-letters/retry", summary="Read dead letters from the ledger again", openapi_extra=reads(Read.DEAD_LETTERS)
)
def retry_dead_letters(node: NodeUpToDate, request: RetryRequest | None = None) -> Response:
    """What can be read now goes into the views, and what waited behind it counts from then on. May be repeated."""
    if node.building.at is not None:
        return problem(409, "rebuild-running", "views are being built; try again when that is done")
    seqs = None if request is None else request.seqs
    results = [outcome._asdict() for outcome in retry(node.connection, node.stream, node.projector, node.keyring, seqs)]
    count = {status: sum(r["status"] == status for r in results) for status in ("retried", "waits")}
    return JSONResponse({"results": results} | count)
