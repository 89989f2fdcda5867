"""The application: routes over one running node."""

from urllib.parse import urlsplit

from fastapi import Depends, FastAPI
from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http import (
    access_log,
    analytics,
    candidates,
    compliance,
    dead_letters,
    disclosure,
    engagement,
    erasures,
    feed,
    feed_description,
    findings,
    health,
    interactions,
    ledger,
    metrics,
    once,
    operations,
    pools,
    problems,
    requests,
    subscribers,
    suppressions,
    webhooks,
)
from api.http.arriving import Arriving
from api.http.backpressure import Turns
from api.http.body import BodyLimit
from api.http.callers import permitted
from api.http.correlating import Correlating
from api.http.description import REFUSALS, describe
from api.http.parameters import only_known_parameters
from api.http.rate import Rate
from api.http.reads import RecordedReads
from api.http.roles import Tokens
from api.http.streams import Streams
from api.http.threads import Threads
from api.node import Node
from infra.oidc import issuer_of

VERSION = "0.1.0"

PARTS = (
    health,
    interactions,
    candidates,
    pools,
    engagement,
    compliance,
    requests,
    disclosure,
    erasures,
    suppressions,
    findings,
    operations,
    metrics,
    dead_letters,
    ledger,
    analytics,
    access_log,
    feed,
    feed_description,
    subscribers,
    webhooks,
)
ASKED_FIRST = [Depends(permitted), Depends(only_known_parameters), Depends(once.once)]


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
    app.state.issuer = issuer_of(node.settings)
    app.state.rate = Rate(node.settings.rate_per_s, node.settings.rate_burst)
    app.state.refused_rate = Rate(node.settings.refused_per_s, node.settings.refused_burst)
    app.state.streams = Streams()
    app.state.arriving = Arriving()
    app.state.threads = Threads()
    app.state.documents = interactions.room()
    app.state.turns = Turns(node)
    app.state.metrics = metrics.registry_of(node)
    app.add_middleware(RecordedReads)  # the first, and so the one next to the routes
    # A page in somebody's browser must not reach a node on loopback through a name of its own (DNS rebinding).
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(node.settings.host))
    app.add_middleware(BodyLimit)
    app.add_middleware(OwnSite)
    problems.install(app)
    once.install(app, node)
    app.add_middleware(webhooks.Door)
    app.add_middleware(Correlating)  # the last, and so before all others
    for part in PARTS:
        app.include_router(part.router, dependencies=ASKED_FIRST, responses=REFUSALS)
    describe(app)
    return app


class OwnSite:
    """A page of another site, open in somebody's browser, may read nothing here and must not write either."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes on, or answers 403."""
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != headers.get("host")
        writes = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD")
        answer: ASGIApp = self._app
        if writes and (foreign or headers.get("sec-fetch-site") == "cross-site"):
            answer = problems.problem(403, "cross-site", "requests from another site's page are not taken")
        await answer(scope, receive, send)


def _hosts(listening_on: str) -> list[str]:
    """Names under which a node may be asked. Whoever listens on every address has a proxy or a firewall before it."""
    return ["*"] if listening_on in ("0.0.0.0", "::") else ["127.0.0.1", "localhost", "[::1]", listening_on]  # noqa: S104 - compared, not bound
