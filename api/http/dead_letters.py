"""Dead letters: events that cannot be used, webhook deliveries that could not be recorded, and trying them again."""

import base64
import re
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.http.answers import answers
from api.http.answers.operations import DeadDeliveryOpened, DeadLetters, Retry
from api.http.asking import AskedFirst
from api.http.paging import After, Limit, NoSuchPlace
from api.http.parameters import NodeUpToDate
from api.http.parameters import _cursor as cursor_of
from api.http.problems import problem
from api.http.reads import reads
from api.http.roles import OFFICERS, OPERATORS
from api.intake import Intake
from api.node import Node
from api.references import LETTER
from consumers.retrying import retry
from domain.access import Read
from infra.ingest_letters import Letter
from projections import queries

LONGEST = 300
"""Of a type or a reason, which come from what somebody wrote into the ledger."""
PAGE = 1_000
_PLACE = re.compile(r"(i?)(\d{1,18})", re.ASCII)

Of = Literal["views", "ingest"]
"""`i12` is a dead letter of ingest, `u12` a delivery of an unknown kind."""

router = APIRouter(route_class=AskedFirst, tags=["operations"])


class RetryRequest(BaseModel):
    """Which dead letters to try again: all of them, all of the views or of ingest, or those named."""

    model_config = ConfigDict(extra="forbid")

    of: Of | None = None
    seqs: Annotated[list[Annotated[int, Field(ge=1)]] | None, Field(max_length=10_000)] = None
    """Of the views, by ledger position."""
    letters: Annotated[list[Annotated[str, Field(pattern=f"^{LETTER.pattern}$")]] | None, Field(max_length=10_000)] = (
        None
    )
    """Of ingest, by id; kinds that were unknown too."""

    def includes(self, of: Of) -> bool:
        """Whether those of the views, or of ingest, are asked for."""
        if self.seqs is None and self.letters is None:
            return self.of in (None, of)
        return (self.seqs if of == "views" else self.letters) is not None


@router.get(
    "/v1/dead-letters",
    summary="Events that cannot be used",
    openapi_extra=reads(Read.DEAD_LETTERS) | OFFICERS,
    responses=answers(DeadLetters),
)
def dead_letters(
    node: NodeUpToDate,
    of: Annotated[Of | None, Query(description="those of the views or of ingest; both if absent")] = None,
    limit: Limit = PAGE,
    after: After = None,
) -> dict[str, Any]:
    """Of the views each with its reason, and how many later events of its record wait behind it; of ingest each with
    its reasons. The oldest first, those of the views before those of ingest; `next` is null on the last page."""
    among, behind = _place(after)
    of_views = [] if "ingest" in (of, among) else [row for row in _of_views(node) if row["seq"] > behind]
    of_ingest = (letter for letter in node.intake.letters.letters() if among == "views" or letter.seq > behind)
    found: list[dict[str, Any]] = of_views[: limit + 1]
    if of != "views":
        found += map(_of_ingest, islice(of_ingest, limit + 1 - len(found)))
    part, last = found[:limit], found[limit - 1] if len(found) > limit else {}
    return {
        "dead_letters": [row for row in part if "seq" in row],
        "ingest": [row for row in part if "provider" in row],
        "next": str(last.get("seq", last.get("id"))) if last else None,
    }


def _place(after: str | None) -> tuple[Of, int]:
    """Among which letters a page begins, and behind which. Raises NoSuchPlace."""
    if (found := _PLACE.fullmatch(after or "0")) is None:
        raise NoSuchPlace("after: give `next` of the page before as it is")
    return "ingest" if found[1] else "views", int(found[2])


def _of_views(node: Node) -> list[dict[str, Any]]:
    """Asked for alone, those of ingest can be had while the views stand still."""
    with contextmanager(cursor_of)(node) as cursor:
        return [_shown(row) for row in queries.dead_letters(cursor)]


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


def _of_ingest(letter: Letter) -> dict[str, Any]:
    return {
        "id": f"{letter.form[0].replace('l', 'i')}{letter.seq}",
        "provider": letter.provider,
        "reasons": [reason[:LONGEST] for reason in letter.reasons],
        "since": letter.kept_at.isoformat(),
    }


@router.get(
    "/v1/dead-letters/{letter}",
    summary="What a provider sent, as it is kept",
    openapi_extra=reads(Read.DEAD_LETTERS) | OFFICERS,
    responses=answers(DeadDeliveryOpened),
)
def show(
    request: Request, letter: Annotated[str, Path(pattern=f"^{LETTER.pattern}$", description="i12 or u12")]
) -> Response:
    """A dead letter of ingest, or a delivery of an unknown kind, opened. Of such a kind `alike` names all that are
    kept, oldest first; each can be shown, and tried again. The access log says who looked."""
    intake: Intake = request.app.state.node.intake
    found = intake.letters.get(int(letter[1:]))
    if found is None:
        return problem(404, "unknown-letter", "there is no such letter any more; `rapport dead-letters list` has those")
    taken = found.taken
    return JSONResponse(
        _of_ingest(found)
        | {
            "kind": found.kind,
            "received_at": None if taken is None else taken.received_at.isoformat(),
            "correlation": None if taken is None else taken.correlation,
            "headers": None if taken is None else dict(taken.headers),
            "body": None if taken is None else _text(taken.body),
            "alike": [
                {"id": f"u{seq}", "since": since.isoformat()}
                for seq, since in (intake.letters.alike(found.seq) if found.form == "unknown" else [])
            ],
        }
    )


def _text(body: bytes) -> str:
    """The body as text, or in base64 where it is none."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(body).decode()


@router.post(
    "/v1/dead-letters/retry",
    summary="Try dead letters again",
    openapi_extra=reads(Read.DEAD_LETTERS) | OPERATORS,
    responses=answers(Retry),
)
def retry_dead_letters(node: NodeUpToDate, request: RetryRequest | None = None) -> Response:
    """Of the views: what can be read now goes in, and what waited behind it counts from then on. Of ingest: each goes
    back into the queue, and becomes a letter again if it still cannot be recorded. May be repeated."""
    asked = request or RetryRequest()
    results: list[dict[str, Any]] = []
    if asked.includes("views"):
        if node.building.at is not None:
            return problem(409, "rebuild-running", "views are being built; try again when that is done")
        outcomes = retry(node.connection, node.stream, node.projector, node.keyring, asked.seqs)
        results = [outcome._asdict() for outcome in outcomes]
    ingest = _put_back(node.intake, asked.letters) if asked.includes("ingest") else []
    count = {status: sum(r["status"] == status for r in results) for status in ("retried", "waits")}
    return JSONResponse({"results": results, "ingest": ingest} | count)


def _put_back(intake: Intake, ids: list[str] | None) -> list[dict[str, str]]:
    chosen = [f"i{letter.seq}" for letter in intake.letters.letters()] if ids is None else ids
    return [{"id": id_, "status": "queued" if intake.retry(int(id_[1:])) else "no-dead-letter"} for id_ in chosen]
