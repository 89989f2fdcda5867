"""Operations: status, rebuild."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from api.building import Rebuild, RebuildRunning
from api.http.answers import answers
from api.http.answers.operations import Status
from api.http.asking import AskedFirst
from api.http.parameters import NodeUpToDate
from api.http.problems import problem
from api.http.reads import reads_nothing
from api.http.roles import EVERY_ROLE, OPERATORS

NDJSON = "application/x-ndjson"
QUIET_S = 1.0

router = APIRouter(route_class=AskedFirst, tags=["operations"])


@router.get(
    "/v1/status",
    summary="The node on one screen",
    openapi_extra=reads_nothing("counts and times") | EVERY_ROLE,
    responses=answers(Status),
)
def status(node: NodeUpToDate) -> dict[str, Any]:
    """Ledger, views, what waits and what is broken."""
    return node.status()


@router.post(
    "/v1/views/rebuild",
    summary="Build views anew from the mirror",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {}}}},
    openapi_extra=reads_nothing("names of views") | OPERATORS,
)
async def rebuild_views(
    request: Request,
    node: NodeUpToDate,
    view: Annotated[
        str | None, Query(description="one view, with those that rest on it; all of them if absent")
    ] = None,
) -> Response:
    """Beside the live ones; readers see the old until the new is complete.

    NDJSON: `{"view", "done"}` as it goes on, at last `{"rebuilt", "seconds"}` or `{"error"}`. When the client goes
    away the build is cancelled; its finished parts are kept, and the next one goes on from there.
    """
    known = {v.name: v.stored for v in node.projector.views}
    if view is not None and view not in known:
        return problem(404, "unknown-view", f"there is no view {view!r}; known are {', '.join(known)}")
    if view is not None and not known[view]:
        return problem(409, "not-stored", f"{view} is computed whenever it is asked for; there is nothing to build")
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(document: dict[str, Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the server is gone, and with it whoever asked
            loop.call_soon_threadsafe(told.put_nowait, document)

    try:
        running = await asyncio.to_thread(node.rebuilds.start, node.projector, view, tell)
    except RebuildRunning as error:
        return problem(409, "rebuild-running", str(error), {"Retry-After": "5"})
    return StreamingResponse(_lines(request, running, told), media_type=NDJSON)


async def _lines(request: Request, running: Rebuild, told: asyncio.Queue[dict[str, Any]]) -> AsyncIterator[bytes]:
    """What is told, by the line. Left before the last one, whatever the reason, the build is cancelled."""
    document: dict[str, Any] = {"view": None, "done": 0.0}
    try:
        while "view" in document:
            try:
                document = await asyncio.wait_for(told.get(), QUIET_S)
            except TimeoutError:  # the last one again, for whoever gives up on a connection that says nothing
                if await request.is_disconnected():
                    return
            yield orjson.dumps(document) + b"\n"
    finally:
        running.cancel()
