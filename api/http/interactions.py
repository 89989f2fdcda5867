"""`POST /v1/interactions`: one object, an array, or NDJSON of any length."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from api.http import outcomes
from api.http.backpressure import Turns
from api.http.callers import Caller, Calling
from api.http.description import INTERACTIONS
from api.http.once import TAKES_KEY
from api.http.problems import problem
from api.http.reads import WRITES
from api.http.roles import PERSON
from api.http.streaming import NDJSON, AsTheyCome
from api.node import Node
from domain.errors import InvalidInteraction
from domain.interaction import Interaction, parse
from infra.recording import Accepted, Outcome, Rejected

CHUNK = 500
"""Interactions decided and appended together."""

MAX_LINE_BYTES = 1_000_000
MAX_BODY_BYTES = 64_000_000

router = APIRouter(tags=["interactions"])


@router.post(
    "/v1/interactions", summary="Record what happened", openapi_extra=WRITES | PERSON | TAKES_KEY | INTERACTIONS
)
async def record(
    request: Request,
    caller: Calling,
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
    turns.enter()
    documents = _chunks(request)
    if NDJSON not in request.headers.get("content-type", ""):
        body = await _body(request)
        if body is None:
            return problem(413, "too-large", f"a JSON body may have {MAX_BODY_BYTES:,} bytes; send NDJSON for more")
        document = _loads(body)
        if not isinstance(document, list):
            (outcome,) = await turns.run(record_all, node, [document], caller, facts=history)
            return outcomes.single(outcome)
        documents = _cut(document)
    recorded = _recorded(turns, partial(record_all, node, caller=caller, facts=history), documents)
    if NDJSON in accept:
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
    """An outcome for each decoded document, in order; `caller` is who acts, where it is not a candidate."""
    parsed = [_parse(d, caller) for d in documents]
    recorded = iter(node.recording.record([p for p in parsed if isinstance(p, Interaction)], facts=facts))
    return [next(recorded) if isinstance(p, Interaction) else p for p in parsed]


def _parse(document: Any, caller: Caller) -> Interaction | Rejected:
    if isinstance(document, Rejected):
        return document
    try:
        found = parse(document)
    except InvalidInteraction as error:
        return Rejected(error.code, str(error))
    own = {"actor": caller.acting(found.actor), "correlation": found.correlation or caller.correlation}
    return found.model_copy(update=own)


def _loads(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Rejected("invalid-json", f"not JSON: {error.msg} at byte {error.pos}")


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


async def _cut(documents: list[Any]) -> AsyncIterator[list[Any]]:
    for start in range(0, len(documents), CHUNK):
        yield documents[start : start + CHUNK]


async def _chunks(request: Request) -> AsyncIterator[list[Any]]:
    """Decoded lines, `CHUNK` at a time; blank lines are no lines."""
    chunk: list[Any] = []
    async for line in _lines(request):
        if line.strip():
            chunk.append(_loads(line) if len(line) <= MAX_LINE_BYTES else _too_long())
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
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
