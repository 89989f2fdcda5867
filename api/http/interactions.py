"""`POST /v1/interactions`: one object, an array, or NDJSON of any length."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from api.http.problems import STATUS, problem
from api.http.reads import WRITES
from api.node import Node
from domain.errors import InvalidInteraction
from domain.interaction import Interaction, parse
from infra.recording import Accepted, Duplicate, Outcome, Rejected

CHUNK = 500
"""Interactions decided and appended together."""

MAX_LINE_BYTES = 1_000_000
MAX_BODY_BYTES = 64_000_000

router = APIRouter(tags=["interactions"])


@router.post("/v1/interactions", summary="Record what happened", openapi_extra=WRITES)
async def record(
    request: Request,
    history: bool = Query(
        False, description="emailed and messaged report what already happened elsewhere, and need no standing"
    ),
) -> Response:
    """One interaction as a JSON object answers 201 (recorded), 200 (known already) or a problem document.

    An array, or NDJSON (`Content-Type: application/x-ndjson`), answers 200 with an outcome for each in order;
    those that were accepted stay accepted.
    """
    node: Node = request.app.state.node
    if "ndjson" in request.headers.get("content-type", ""):
        outcomes = []
        async for chunk in _chunks(request):
            outcomes += await run_in_threadpool(record_all, node, chunk, facts=history)
        return _summary(outcomes)
    body = await _body(request)
    if body is None:
        return problem(413, "too-large", f"a JSON body may have {MAX_BODY_BYTES:,} bytes; send NDJSON for more")
    document = _loads(body)
    if not isinstance(document, list):
        (outcome,) = await run_in_threadpool(record_all, node, [document], facts=history)
        return _single(outcome)
    outcomes = []
    for start in range(0, len(document), CHUNK):
        outcomes += await run_in_threadpool(record_all, node, document[start : start + CHUNK], facts=history)
    return _summary(outcomes)


def record_all(node: Node, documents: Sequence[Any], *, facts: bool) -> list[Outcome]:
    """An outcome for each decoded document, in order."""
    parsed = [_parse(d) for d in documents]
    recorded = iter(node.recording.record([p for p in parsed if isinstance(p, Interaction)], facts=facts))
    return [next(recorded) if isinstance(p, Interaction) else p for p in parsed]


def _parse(document: Any) -> Interaction | Rejected:
    if isinstance(document, Rejected):
        return document
    try:
        return parse(document)
    except InvalidInteraction as error:
        return Rejected(error.code, str(error))


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


def _single(outcome: Outcome) -> Response:
    match outcome:
        case Accepted(candidate_id=id_, seq=seq, version=version):
            return JSONResponse({"status": "accepted", "candidate": id_, "seq": seq, "version": version}, 201)
        case Duplicate(candidate_id=id_):
            return JSONResponse({"status": "duplicate", "candidate": id_})
        case Rejected(code=code, reason=reason):
            return problem(STATUS.get(code, 409), code, reason)


def _summary(outcomes: Sequence[Outcome]) -> Response:
    seqs = [o.seq for o in outcomes if isinstance(o, Accepted)]
    return JSONResponse(
        {
            "accepted": len(seqs),
            "duplicates": sum(isinstance(o, Duplicate) for o in outcomes),
            "rejected": sum(isinstance(o, Rejected) for o in outcomes),
            "last_seq": max(seqs, default=None),
            "results": [{"status": type(o).__name__.lower(), **asdict(o)} for o in outcomes],
        }
    )
