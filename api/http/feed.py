"""The feed over HTTP: as it comes (server-sent events), page by page, and what its recipients acknowledge."""

import re
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api import acknowledging
from api.acknowledging import Acknowledged, UnknownMessage
from api.http import paging
from api.http.answers import answers, recorded_or_known
from api.http.answers.operations import Acknowledged as AcknowledgedAnswer
from api.http.answers.operations import Acknowledgements, PublishedPage
from api.http.asking import AskedFirst
from api.http.callers import Calling
from api.http.paging import After, Limit
from api.http.parameters import NodeUpToDate
from api.http.problems import STATUS, problem
from api.http.reads import WRITES, reads_nothing
from api.http.roles import EVERY_ROLE, OFFICERS, Role, allowed
from api.http.streams import Streams, matching
from domain.event import Label
from domain.published_schemas import schemas
from infra.feed import Extent, type_of
from infra.subscriber import is_of

EVENT_STREAM = "text/event-stream"
_POSITION = re.compile(r"\d{1,18}")
_NOTHING_PERSONAL = reads_nothing("ids without meaning, times and closed words: nothing personal is published")

router = APIRouter(route_class=AskedFirst, prefix="/v1/feed", tags=["feed"])


def _published(pattern: str) -> str:
    if not any(is_of(pattern, known) for known in schemas()):
        raise ValueError("nothing published is of this type; write `pool.joined` or `candidate.*`, say")
    return pattern


Types = Annotated[
    list[Annotated[str, Field(pattern=r"^[a-z_*>]+(\.[a-z_*>]+)*$", max_length=100), AfterValidator(_published)]],
    Query(description="only these types, such as `pool.joined`, `candidate.*` or `compliance.>`", max_length=50),
]


class Acknowledgement(BaseModel):
    """Who did what a message told them to do: `id` is that of the message, as it stands in it."""

    model_config = ConfigDict(extra="forbid")

    recipient: Label
    id: Annotated[str, Field(max_length=60)]


@router.get(
    "",
    summary="The feed as server-sent events",
    openapi_extra=_NOTHING_PERSONAL | EVERY_ROLE,
    response_class=StreamingResponse,
    responses={200: {"content": {EVENT_STREAM: {}}}, 410: {"description": "what comes next was removed, being old"}},
)
async def stream(
    request: Request,
    node: NodeUpToDate,
    caller: Calling,
    types: Types = [],  # noqa: B006 - FastAPI's way to say "may be repeated"
    after: Annotated[int | None, Query(ge=0, le=2**53, description="feed position; 0 for all that is kept")] = None,
    last_event_id: Annotated[str, Header(description="takes precedence over `after`; empty as if it were absent")] = "",
) -> Response:
    """Every message behind a position, and those to come; without a position only those to come.

    `id` is the feed position, `event` the type, `data` the CloudEvent. A reader that comes back with `Last-Event-ID`
    misses nothing and gets nothing twice. A stream ends when the token that it was asked for with does.
    """
    streams: Streams = request.app.state.streams
    if last_event_id and not _POSITION.fullmatch(last_event_id):
        return problem(422, "invalid-request", "Last-Event-ID: give the `id` of an event of this feed as it is")
    place = int(last_event_id) if last_event_id else after
    extent = await run_in_threadpool(node.feed.extent)
    if (refusal := _refusal(extent, place, has_read=bool(last_event_id))) is not None:
        return refusal
    place = _from(extent, place)
    if (why := streams.full_for(caller)) is not None:
        return problem(503, "feed-busy", why, {"Retry-After": "10"})
    return StreamingResponse(
        streams.read(caller, node.feed, place, matching(types)),
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get(
    "/events",
    summary="The feed page by page",
    openapi_extra=_NOTHING_PERSONAL | EVERY_ROLE,
    responses=answers(PublishedPage),
)
def page(
    node: NodeUpToDate,
    types: Types = [],  # noqa: B006 - FastAPI's way to say "may be repeated"
    after: Annotated[int, Query(ge=0, le=2**53, description="`next` of the page before; 0 for all that is kept")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """`events` with their position and type, and `next`; a page that is empty has `next` all the same. `last` is the
    position of the feed's last message.
    """
    extent = node.feed.extent()
    if (refusal := _refusal(extent, after)) is not None:
        return refusal
    messages = node.feed.page(_from(extent, after), limit)
    wanted = matching(types)
    events = [
        {"position": m.seq, "type": type_of(node.feed.stream, m.subject), "event": orjson.Fragment(m.body)}
        for m in messages
        if wanted(type_of(node.feed.stream, m.subject))
    ]
    answer = {"events": events, "next": messages[-1].seq if messages else after, "last": extent.last_seq}
    return Response(orjson.dumps(answer), media_type="application/json")


@router.post(
    "/acknowledgements",
    summary="A recipient did what a message told them to (Art. 19 GDPR)",
    status_code=201,
    openapi_extra=WRITES | allowed(Role.COMPLIANCE, Role.SERVICE, Role.ADMIN),
    responses=recorded_or_known(AcknowledgedAnswer),
)
def acknowledge(acknowledgement: Acknowledgement, node: NodeUpToDate, caller: Calling) -> JSONResponse:
    """Of `compliance.rectified`, `restricted` and `erased`. 201 when it is new, 200 when it was known already."""
    try:
        outcome = acknowledging.acknowledge(node, acknowledgement.recipient, acknowledgement.id, caller.actor)
    except UnknownMessage as error:
        return problem(404, "unknown-message", str(error))
    if not isinstance(outcome, Acknowledged):
        return problem(STATUS.get(outcome.code, 409), outcome.code, outcome.reason)
    status = "accepted" if outcome.is_new else "duplicate"
    answer: dict[str, Any] = {"status": status, "candidate": outcome.candidate_id, "seq": outcome.seq}
    return JSONResponse(answer, 201 if outcome.is_new else 200)


@router.get(
    "/acknowledgements",
    summary="What recipients acknowledged about those who were erased",
    openapi_extra=reads_nothing("ids without meaning, and the names of recipients") | OFFICERS,
    responses=answers(Acknowledgements),
)
def acknowledgements(node: NodeUpToDate, limit: Limit = 1_000, after: After = None) -> dict[str, Any]:
    """Oldest first. What is about others stands with their requests, and in their record."""
    rows, more = paging.page(acknowledging.kept(node), "id", limit, after)
    return {"acknowledgements": rows, "next": more}


def _refusal(extent: Extent, after: int | None, *, has_read: bool = False) -> JSONResponse | None:
    """Why the feed cannot go on behind `after`, if it cannot. 0 is all that is kept, for who `has_read` nothing."""
    if after is None or (after == 0 and not has_read):
        return None
    if after > extent.last_seq:
        return problem(
            409,
            "feed-position-unknown",
            f"the feed ends at {extent.last_seq}: position {after} is of another one; begin with after=0",
        )
    if after + 1 < extent.first_seq:
        detail = (
            f"what follows position {after} was removed, being old; the first message kept is {extent.first_seq}: take "
            f"what you missed from the API, and go on with after={extent.first_seq - 1}"
        )
        return problem(410, "feed-aged-out", detail, first=extent.first_seq)
    return None


def _from(extent: Extent, after: int | None) -> int:
    """The position behind which a reader begins."""
    return extent.last_seq if after is None else max(after, extent.first_seq - 1)
