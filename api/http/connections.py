"""How many connections a node takes at a time. Whoever watches over it is answered by however many."""

from collections.abc import Sized

from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.backpressure import ComeAgain
from api.http.health import PATHS
from api.http.problems import problem

MOST = 768
"""A process may have 1,024 files open as a rule, and the node needs some."""


class Connections:
    """The middleware: 503 for what comes by one more, which is closed then.

    A probe that were refused as well would have a node killed that is merely busy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes on, or answers 503."""
        answer: ASGIApp = self._app
        if scope["type"] == "http" and scope["path"] not in PATHS:
            connections: Sized = scope["app"].state.connections
            if len(connections) > MOST:
                again = ComeAgain("busy", "as many connections are open as this node takes", 1)
                answer = problem(503, again.code, str(again), {"Retry-After": "1", "Connection": "close"})
        await answer(scope, receive, send)
