"""Whether the node lives and can do its work, for whoever watches over it."""

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from api.http.answers import answers
from api.http.answers.operations import Alive, NotReady, Ready
from api.http.asking import AskedFirst
from api.http.reads import reads_nothing
from api.http.roles import open_to_anybody
from api.http.threads import Threads
from api.node import Node

OPEN = reads_nothing("no data") | open_to_anybody("whoever watches over the process has no token")
LIVES, READY = "/healthz", "/readyz"
PATHS = (LIVES, READY)

router = APIRouter(route_class=AskedFirst, tags=["operations"])


@router.get(LIVES, summary="The process answers", openapi_extra=OPEN, responses=answers(Alive))
async def healthz(request: Request) -> dict[str, str]:
    """Also while nothing else works."""
    node: Node = request.app.state.node
    return {"status": "ok", "instance": node.instance}


@router.get(
    READY, summary="The node can do its work", openapi_extra=OPEN, responses=answers(Ready) | answers(NotReady, 503)
)
async def readyz(request: Request) -> JSONResponse:
    """503 with the reasons when it cannot."""
    node: Node = request.app.state.node
    threads: Threads = request.app.state.threads
    reasons = await run_sync(node.unready, limiter=threads.health)
    return JSONResponse({"status": "not ready" if reasons else "ready", "reasons": reasons}, 503 if reasons else 200)
