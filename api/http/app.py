"""The application: routes over one running node."""

from fastapi import Depends, FastAPI

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
from api.http.body import BodyLimit, Coming
from api.http.connections import Connections
from api.http.correlating import Correlating
from api.http.description import REFUSALS, describe
from api.http.parameters import only_known_parameters
from api.http.rate import Rate
from api.http.reads import RecordedReads
from api.http.roles import Tokens
from api.http.sites import OwnName, OwnSite
from api.http.streams import Streams
from api.http.threads import Threads
from api.http.traced import Traced
from api.node import Node
from infra import tracing
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
ASKED_FIRST = [Depends(only_known_parameters), Depends(once.once)]
"""Behind the token and the body: see `api.http.asking`."""


def create_app(node: Node) -> FastAPI:
    """The HTTP API of `node`, which is running."""
    app = FastAPI(
        title="Rapport",
        version=VERSION,
        summary="Candidate relationships as an immutable ledger, live views and a consent trail",
        docs_url=None,  # the page would load its script from a host of others, into the origin that holds the data
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own spans have paths and queries, which hold identifiers.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.node = node
    app.state.reception = lambda: node.intake.reception
    app.state.is_beside_a_door = lambda: node.door is not None and node.door.is_open
    app.state.tokens = Tokens.of(node.settings.tokens_file)
    app.state.issuer = issuer_of(node.settings)
    app.state.rate = Rate(node.settings.rate_per_s, node.settings.rate_burst)
    app.state.refused_rate = Rate(node.settings.refused_per_s, node.settings.refused_burst)
    app.state.connections = ()  # until a server has some
    app.state.streams = Streams()
    app.state.coming = Coming()
    app.state.arriving = Arriving()
    app.state.threads = Threads()
    app.state.documents = interactions.room()
    app.state.bodies = interactions.room()
    app.state.turns = Turns(node)
    app.state.metrics = metrics.registry_of(node)
    app.add_middleware(RecordedReads)  # the first, and so the one next to the routes
    app.add_middleware(OwnName, listening_on=node.settings.host)
    app.add_middleware(OwnSite)
    app.add_middleware(BodyLimit)
    problems.install(app)
    once.install(app, node)
    app.add_middleware(webhooks.Door)
    app.add_middleware(Connections)
    if tracing.is_on():
        app.add_middleware(Traced)
    app.add_middleware(Correlating)  # the last, and so before all others
    for part in PARTS:
        app.include_router(part.router, dependencies=ASKED_FIRST, responses=REFUSALS)
    describe(app)
    return app
