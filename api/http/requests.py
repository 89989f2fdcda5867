"""Data subjects' requests: open one, see which are due, give one more time, close it."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api import requesting
from api.http.answers import answers, recorded_or_known
from api.http.answers.compliance import DataSubjectRequests, RequestPage, RequestRecorded
from api.http.asking import AskedFirst
from api.http.callers import Calling
from api.http.once import TAKES_KEY
from api.http.parameters import AsOf, Cursor, NodeUpToDate, canonical_of
from api.http.problems import STATUS, problem
from api.http.reads import WRITES, Noting, reads
from api.http.roles import OFFICERS, PERSON
from api.node import Node
from api.references import reference_of
from domain.access import Read
from domain.errors import ErasedCandidate
from domain.event import HexId, Label, Name, Text, UtcDatetime, utc_now
from domain.interaction import DEFAULT_ACTOR
from domain.policy import Channel, RequestKind, RequestOutcome
from infra.recording import Accepted, Duplicate, Outcome

router = APIRouter(route_class=AskedFirst, prefix="/v1/compliance/requests", tags=["compliance"])

RequestId = Annotated[
    str,
    Path(
        alias="id",
        pattern="^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$",
        description="id of the request: 32 hex digits",
    ),
]
State = Literal["open", "overdue", "closed"]

_CURSOR = re.compile(r"(\d{1,11})-(\d{1,18})")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    actor: Name = DEFAULT_ACTOR


class Received(_Entry):
    """What a person asks for. With `request`, 32 hexadecimal digits of the caller's own, it may be sent again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"candidate": "ada@example.com", "asks_for": "access", "channel": "email"}]},
    )

    candidate: Name = Field(description="id, email, +phone, profile link or system:key")
    asks_for: RequestKind
    received_at: UtcDatetime = Field(default_factory=utc_now)
    details: Text | None = None
    channel: Channel | None = None
    source: Label | None = Field(
        None, description="makes a record of somebody not known yet, who is to be answered too"
    )
    request: HexId | None = None


class Extension(_Entry):
    """Why it takes longer, as the person was told, and when that was (Art. 12(3) GDPR)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "complexity", "explanation": "records of three systems"}]},
    )

    reason: Literal["complexity", "number"]
    explanation: Text | None = None
    told_at: UtcDatetime = Field(default_factory=utc_now)


class Closing(_Entry):
    """How the request ended. One that is refused needs an explanation (Art. 12(4) GDPR)."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"outcome": "fulfilled"}]})

    outcome: RequestOutcome
    explanation: Text | None = None
    closed_at: UtcDatetime = Field(default_factory=utc_now)


class Told(_Entry):
    """Who was told what to do with data that was disclosed to them, or confirmed it (Art. 19 GDPR)."""

    recipient: Label
    about: Literal["rectification", "erasure", "restriction"] | None = Field(
        None, description="what the request asks for if absent"
    )
    acknowledged: bool = False
    told_at: UtcDatetime = Field(default_factory=utc_now)


@router.post(
    "",
    summary="A person asks for what Art. 15 to 21 GDPR give them",
    status_code=201,
    openapi_extra=WRITES | PERSON | TAKES_KEY,
    responses=recorded_or_known(RequestRecorded),
)
def receive(request: Received, node: NodeUpToDate, caller: Calling) -> JSONResponse:
    """Its id, by which it is extended and closed. The time to answer runs from `received_at`."""
    request_id, outcome = requesting.receive(
        node,
        reference_of(request.candidate),
        request.asks_for,
        request.received_at,
        caller.acting(request.actor),
        request_id=request.request,
        details=request.details,
        channel=request.channel,
        source=request.source,
    )
    return _answer(outcome, request_id)


@router.get(
    "",
    summary="Requests by when they are due",
    openapi_extra=reads(Read.REQUESTS) | OFFICERS,
    responses=answers(DataSubjectRequests),
)
def listed(
    node: NodeUpToDate,
    cursor: Cursor,
    seen: Noting,
    as_of: AsOf,
    state: Annotated[list[State] | None, Query(description="any of these; all if absent")] = None,
    asks_for: RequestKind | None = None,
    candidate: Annotated[str | None, Query(description="of one person only")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> Any:
    """The most urgent first. An open request whose time is over is `overdue`."""
    place = None if after is None else _place(after)
    if after is not None and place is None:
        return problem(422, "invalid-request", "after: give `next` of the page before as it is")
    person = None if candidate is None else canonical_of(cursor, node.recording.resolve(reference_of(candidate)))
    requesting.as_of_then(cursor, as_of)
    rows = requesting.listed(
        cursor, states=state or (), asks_for=asks_for, canonical_id=person, after=place, limit=limit
    )
    seen.persons(row["canonical_id"] for row in rows)
    more = f"{int(rows[-1]['due_at'].timestamp())}-{rows[-1]['received_seq']}" if len(rows) == limit else None
    return {"as_of": as_of.isoformat(), "requests": rows, "next": more}


@router.get(
    "/{id}",
    summary="One request, with what became of it",
    openapi_extra=reads(Read.REQUESTS) | OFFICERS,
    responses=answers(RequestPage),
)
def show(request_id: RequestId, node: NodeUpToDate, seen: Noting, as_of: AsOf) -> Any:
    """Every event that names it, who else was told, and the command that carries it out."""
    found = requesting.find(node, request_id, as_of)
    if found is None:
        return _unknown(node, request_id)
    seen.person(found["canonical_id"])
    return requesting.page(node, found)


@router.post(
    "/{id}/extend",
    summary="It takes two months more",
    status_code=201,
    openapi_extra=WRITES | OFFICERS | TAKES_KEY,
    responses=recorded_or_known(RequestRecorded),
)
def extend(request_id: RequestId, extension: Extension, node: NodeUpToDate, caller: Calling) -> JSONResponse:
    """Once, and only when the person was told within the first month (Art. 12(3) GDPR)."""
    found = requesting.find(node, request_id)
    if found is None:
        return _unknown(node, request_id)
    why = extension.reason, extension.explanation, extension.told_at
    return _answer(requesting.extend(node, found, *why, caller.acting(extension.actor)), found["request_id"])


@router.post(
    "/{id}/close",
    summary="The request was answered",
    status_code=201,
    openapi_extra=WRITES | OFFICERS | TAKES_KEY,
    responses=recorded_or_known(RequestRecorded),
)
def close(request_id: RequestId, closing: Closing, node: NodeUpToDate, caller: Calling) -> JSONResponse:
    """Nothing is carried out by closing; the request's page says what does that."""
    found = requesting.find(node, request_id)
    if found is None:
        return _unknown(node, request_id)
    how = closing.outcome, closing.explanation, closing.closed_at
    return _answer(requesting.close(node, found, *how, caller.acting(closing.actor)), found["request_id"])


@router.post(
    "/{id}/recipients",
    summary="A recipient of the data was told, or confirmed it",
    status_code=201,
    openapi_extra=WRITES | OFFICERS | TAKES_KEY,
    responses=recorded_or_known(RequestRecorded),
)
def tell(request_id: RequestId, told: Told, node: NodeUpToDate, caller: Calling) -> JSONResponse:
    """Art. 19 GDPR; the person may ask who was told."""
    found = requesting.find(node, request_id)
    if found is None:
        return _unknown(node, request_id)
    about = None if told.about is None else RequestKind(told.about)
    actor = caller.acting(told.actor)
    outcome = requesting.tell(node, found, told.recipient, about, told.told_at, actor, ack=told.acknowledged)
    return _answer(outcome, found["request_id"])


def _place(after: str) -> tuple[datetime, int] | None:
    if (parts := _CURSOR.fullmatch(after)) is None:
        return None
    return datetime.fromtimestamp(int(parts[1]), UTC), int(parts[2])


def _unknown(node: Node, request_id: str) -> JSONResponse:
    """Of a request that was answered by an erasure nothing is left but its id, which the erasure has."""
    for erasure in node.erasures.all():
        if erasure.request == request_id.replace("-", ""):
            when = f"{erasure.requested_at:%Y-%m-%d}"
            said = f"whoever made this request was erased on {when} (erasure {erasure.id}); nothing else is left of it"
            return problem(410, ErasedCandidate.code, said)
    return problem(404, "unknown-request", "there is no request of this id; `rapport requests list --all` has them all")


def _answer(outcome: Outcome, request_id: str) -> JSONResponse:
    match outcome:
        case Accepted(candidate_id=id_, seq=seq):
            return JSONResponse({"status": "accepted", "request": request_id, "candidate": id_, "seq": seq}, 201)
        case Duplicate(candidate_id=id_):
            return JSONResponse({"status": "duplicate", "request": request_id, "candidate": id_})
    return problem(STATUS.get(outcome.code, 409), outcome.code, outcome.reason)
