"""The access log to ask: who read what about whom, for those who supervise it."""

from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from api.http.answers import answers
from api.http.answers.compliance import AccessRecords, AccessVerification
from api.http.asking import AskedFirst
from api.http.parameters import NodeUpToDate
from api.http.problems import problem
from api.http.reads import Noting, reads
from api.http.roles import OFFICERS
from api.node import Node
from api.references import reference_of
from domain.access import Access, Entry, Head, Read
from domain.event import UtcDatetime
from projections import queries

MOST = 10_000

router = APIRouter(route_class=AskedFirst, prefix="/v1/access-log", tags=["compliance"])


@router.get(
    "",
    summary="Who read what, oldest first",
    openapi_extra=reads(Read.ACCESS_LOG) | OFFICERS,
    responses=answers(AccessRecords),
)
def entries(
    node: NodeUpToDate,
    seen: Noting,
    of: Annotated[str | None, Query(description="a person: id, email, +phone, profile link or system:key")] = None,
    by: Annotated[str | None, Query(description="a role", pattern="^[a-z_]{1,40}$")] = None,
    what: Read | None = None,
    since: UtcDatetime | None = None,
    until: Annotated[UtcDatetime | None, Query(description="the first moment that does not count any more")] = None,
    after: Annotated[int, Query(ge=0, le=2**53, description="`next` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 1_000,
) -> dict[str, Any]:
    """A page of records. `of` finds the reads that name one of the person's records.

    A read of more than 100 persons, SQL, and copies of everything name nobody; ask for these by `what`.
    """
    records = None if of is None else _records_of(node, of, seen)

    def is_asked(access: Access) -> bool:
        return (
            (records is None or not records.isdisjoint(access.candidates))
            and (by is None or access.role == by)
            and (what is None or access.what is what)
            and (since is None or access.occurred_at >= since)
            and (until is None or access.occurred_at < until)
        )

    found = (entry for entry in node.access_log.entries(since, until, after) if is_asked(entry.access))
    page = list(islice(found, limit))
    more = page[-1].number if len(page) == limit else None
    return {"records": [as_document(entry) for entry in page], "next": more}


@router.get(
    "/verification",
    summary="Is the log whole?",
    openapi_extra=reads(Read.ACCESS_LOG) | OFFICERS,
    responses=answers(AccessVerification),
)
def verification(
    node: NodeUpToDate, head: Annotated[str | None, Query(description="one that was noted, NUMBER:HASH")] = None
) -> Response:
    """Reads all of it. `head` is what to note, and to bring along another time: it fixes the log up to there."""
    try:
        noted = None if head is None else Head.of(head)
    except ValueError as error:
        return problem(422, "invalid-request", f"head: {error}")
    found = node.access_log.verify(noted)
    return JSONResponse(
        {
            "clean": found.is_clean,
            "records": found.records,
            "first": found.first,
            "head": None if found.head is None else str(found.head),
            "findings": found.findings,
        }
    )


def as_document(entry: Entry) -> dict[str, Any]:
    """A record as JSON has it."""
    return {"number": entry.number} | entry.access.model_dump(mode="json", exclude_defaults=True)


def _records_of(node: Node, text: str, seen: Noting) -> set[str]:
    """Every record that is or was one person with the one that is meant; an id stands for itself, erased or not."""
    reference = reference_of(text)
    candidate_id = node.recording.resolve(reference) if reference.id is None else reference.id
    seen.person(candidate_id)
    with node.projector.cursor() as cursor:
        return {candidate_id, *queries.ever_merged(cursor, candidate_id)}
