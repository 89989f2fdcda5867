"""The application: routes over one running node."""

from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api.http import (
    access_log,
    analytics,
    candidates,
    compliance,
    dead_letters,
    disclosure,
    engagement,
    erasures,
    findings,
    interactions,
    ledger,
    metrics,
    operations,
    pools,
    problems,
    requests,
)
from api.http.parameters import only_known_parameters
from api.http.reads import RecordedReads, reads_nothing
from api.http.roles import Tokens
from api.node import Node

VERSION = "0.1.0"


def create_app(node: Node) -> FastAPI:
    """The HTTP API of `node`, which is running."""
    app = FastAPI(
        title="Rapport",
        version=VERSION,
        summary="Candidate relationships as an immutable ledger, live views and a consent trail",
        docs_url=None,  # the page would load its script from a host of others, into the origin that holds the data
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.node = node
    app.state.tokens = Tokens.of(node.settings.tokens_file)
    app.state.metrics = metrics.registry_of(node)
    app.add_middleware(RecordedReads)  # the first, and so the one next to the routes
    # A page in somebody's browser must not reach a node on loopback through a name of its own (DNS rebinding).
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(node.settings.host))
    problems.install(app)
    app.middleware("http")(_refuse_other_sites)
    for part in (
        interactions,
        candidates,
        pools,
        engagement,
        compliance,
        requests,
        disclosure,
        erasures,
        findings,
        operations,
        metrics,
        dead_letters,
        ledger,
        analytics,
        access_log,
    ):
        app.include_router(part.router, dependencies=[Depends(only_known_parameters)])

    @app.get("/healthz", tags=["operations"], summary="The process answers", openapi_extra=reads_nothing("no data"))
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "instance": node.instance}

    @app.get("/readyz", tags=["operations"], summary="The node can do its work", openapi_extra=reads_nothing("no data"))
    def readyz(request: Request) -> JSONResponse:
        reasons = request.app.state.node.unready()
        return JSONResponse(
            {"status": "not ready" if reasons else "ready", "reasons": reasons}, 503 if reasons else 200
        )

    return app


async def _refuse_other_sites(request: Request, go_on: RequestResponseEndpoint) -> Response:
    """A page of another site, open in somebody's browser, may read nothing here and must not write either."""
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if request.method not in ("GET", "HEAD") and (foreign or request.headers.get("sec-fetch-site") == "cross-site"):
        return problems.problem(403, "cross-site", "requests from another site's page are not taken")
    return await go_on(request)


def _hosts(listening_on: str) -> list[str]:
    """Names under which a node may be asked. Whoever listens on every address has a proxy or a firewall before it."""
    return ["*"] if listening_on in ("0.0.0.0", "::") else ["127.0.0.1", "localhost", "[::1]", listening_on]  # noqa: S104 - compared, not bound
