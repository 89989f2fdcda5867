"""`POST /v1/interactions`: one object, an array, or NDJSON of any length."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response

from api.http import outcomes
from api.http.arriving import Arriving
from api.http.asking import AskedFirst, whole
from api.http.backpressure import Turns
from api.http.body import WITHIN_S
from api.http.callers import Caller, Calling
from api.http.description import INTERACTIONS
from api.http.once import TAKES_KEY
from api.http.reads import WRITES
from api.http.roles import OFFICERS, PERSON, Role, roles_of
from api.http.streaming import NDJSON, AsTheyCome, is_ndjson, wants_ndjson
from api.node import Node
from api.reception import SHORT_BYTES
from domain.candidate import BY_OFFICERS, OptedIn
from domain.errors import InvalidInteraction, OptInWithoutEvidence
from domain.interaction import Interaction, parse
from infra.recording import Accepted, Outcome, Rejected

CHUNK = 500
"""Interactions decided and appended together; of long ones fewer: as soon as their lines have `CHUNK_BYTES`."""
CHUNK_BYTES = 1_000_000

MAX_LINE_BYTES = 1_000_000
MOST_JSON_BYTES = 8_000_000
"""Of all JSON bodies that are coming, or are being recorded: made to, they take thirty times that, decoded."""

router = APIRouter(route_class=AskedFirst, tags=["interactions"])


def room() -> Arriving:
    """For the JSON bodies that one node takes at a time."""
    return Arriving(MOST_JSON_BYTES, WITHIN_S)


async def _whole(request: Request) -> AsyncIterator[bytes | None]:
    """A JSON body, which counts until its answer is sent; None for NDJSON, which is read as it comes.

    Raises ComeAgain or HTTPException.
    """
    turns: Turns = request.app.state.turns
    turns.enter()
    if is_ndjson(request.headers.get("content-type", "")):
        yield None
        return
    async with whole(request.app.state.documents, request.stream()) as body:
        yield body


@router.post(
    "/v1/interactions", summary="Record what happened", openapi_extra=WRITES | PERSON | TAKES_KEY | INTERACTIONS
)
async def record(
    request: Request,
    caller: Calling,
    body: Annotated[bytes | None, Depends(_whole)],
    accept: Annotated[str, Header()] = "*/*",
    history: bool = Query(
        False, description="emailed and messaged report what already happened elsewhere, and need no standing"
    ),
) -> Response:
    """One interaction as a JSON object answers 201 (recorded), 200 (known already) or a problem document.

    An array, or NDJSON (`Content-Type: application/x-ndjson`), answers 200 with an outcome for each in order;
    those that were accepted stay accepted. With `Accept: application/x-ndjson` the outcomes come line by line while
    the request is still being sent, behind them `{"summary": …}`, or `{"error": …}` when it could not go on: what
    comes behind the last outcome is not recorded, and the whole may be sent again.
    """
    node: Node = request.app.state.node
    turns: Turns = request.app.state.turns
    if body is None:
        documents = _chunks(request)
    else:
        document = _loads(body) if len(body) <= SHORT_BYTES else await turns.run(_loads, body)
        if not isinstance(document, list):
            (outcome,) = await turns.run(record_all, node, [document], caller, facts=history)
            return outcomes.single(outcome)
        documents = _cut(document)
    recorded = _recorded(turns, partial(record_all, node, caller=caller, facts=history), documents)
    if wants_ndjson(accept):
        return AsTheyCome(outcomes.line_by_line(recorded, request), node.settings.data)
    return await outcomes.together(recorded, node.settings.data)


async def _recorded(
    turns: Turns, record_some: Callable[[list[Any]], list[Outcome]], chunks: AsyncIterator[list[Any]]
) -> AsyncIterator[list[Outcome]]:
    async for chunk in chunks:
        found = await turns.run(record_some, chunk)
        turns.note(max((o.seq for o in found if isinstance(o, Accepted)), default=0))
        yield found


def record_all(node: Node, documents: Sequence[Any], caller: Caller, *, facts: bool) -> list[Outcome]:
    """An outcome for each document, in order: decoded JSON, or a line of it in bytes.

    `caller` is who acts, where it is not a candidate.
    """
    parsed = [_parse(d, caller) for d in documents]
    recorded = iter(node.recording.record([p for p in parsed if isinstance(p, Interaction)], facts=facts))
    return [next(recorded) if isinstance(p, Interaction) else p for p in parsed]


def _parse(document: Any, caller: Caller) -> Interaction | Rejected:
    document = _loads(document) if isinstance(document, bytes) else document
    if isinstance(document, Rejected):
        return document
    try:
        found = parse(document)
    except InvalidInteraction as error:
        return Rejected(error.code, str(error))
    if (refusal := _not_theirs(found, caller)) is not None:
        return refusal
    own = {"actor": caller.acting(found.actor), "correlation": found.correlation or caller.correlation}
    return found.model_copy(update=own)


def _not_theirs(found: Interaction, caller: Caller) -> Rejected | None:
    """Why it is not the caller's to record; None when it is."""
    officers = roles_of(OFFICERS) or ()
    if found.type in BY_OFFICERS and caller.role not in officers:
        return Rejected(
            "role-refused",
            f"type: {found.type} is for the roles {' and '.join(officers)}, and the caller is {caller.role}; "
            "present another token, or have an officer record it",
        )
    evidence = str(found.data.get("evidence") or "").strip()
    if found.type == OptedIn.type and caller.role is Role.RECRUITER and not evidence:
        return Rejected(
            OptInWithoutEvidence.code,
            "an opt-in that a recruiter records needs data.evidence: what shows that the person said so, "
            "whoever actor is",
        )
    return None


def _loads(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        more = f"; a document a line comes as Content-Type: {NDJSON}" if b"\n{" in text else ""
        return Rejected("invalid-json", f"not JSON: {error.msg} at byte {error.pos}{more}")


async def _cut(documents: list[Any]) -> AsyncIterator[list[Any]]:
    for start in range(0, len(documents), CHUNK):
        yield documents[start : start + CHUNK]


async def _chunks(request: Request) -> AsyncIterator[list[Any]]:
    """Lines, `CHUNK` at a time, to be decoded by whoever records them; blank lines are no lines."""
    chunk: list[Any] = []
    size = 0
    async for line in _lines(request):
        if line.strip():
            chunk.append(line if len(line) <= MAX_LINE_BYTES else _too_long())
            size += len(line)
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


async def _lines(request: Request) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in request.stream():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > MAX_LINE_BYTES:
            rest = rest[: MAX_LINE_BYTES + 1]  # its end is still looked for, its content is refused
    yield rest


def _too_long() -> Rejected:
    return Rejected("too-large", f"the line is longer than {MAX_LINE_BYTES:,} bytes")
