"""Whether the node lives and can do its work, for whoever watches over it."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from api.http.reads import reads_nothing
from api.http.roles import open_to_anybody
from api.node import Node

OPEN = reads_nothing("no data") | open_to_anybody("whoever watches over the process has no token")

router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="The process answers", openapi_extra=OPEN)
async def healthz(request: Request) -> dict[str, str]:
    """Also while nothing else works."""
    node: Node = request.app.state.node
    return {"status": "ok", "instance": node.instance}


@router.get("/readyz", summary="The node can do its work", openapi_extra=OPEN)
def readyz(request: Request) -> JSONResponse:
    """503 with the reasons when it cannot."""
    node: Node = request.app.state.node
    reasons = node.unready()
    return JSONResponse({"status": "not ready" if reasons else "ready", "reasons": reasons}, 503 if reasons else 200)
