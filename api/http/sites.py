"""By which name this node is asked, and from which site's page: neither is to be another's."""

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import problem

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/?#@\s]+)(?::\d*)?", re.IGNORECASE)


class OwnName:
    """A page in somebody's browser must not reach a node on loopback through a name of its own (DNS rebinding)."""

    def __init__(self, app: ASGIApp, listening_on: str) -> None:
        """Whoever listens on every address has a proxy or a firewall before it."""
        self._app = app
        own = f"[{listening_on}]" if ":" in listening_on else listening_on
        self._names = None if listening_on in EVERY_ADDRESS else {*LOOPBACK, own.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes on, or answers 400."""
        answer: ASGIApp = self._app
        if scope["type"] == "http" and self._names is not None:
            host = _HOST.fullmatch(Headers(scope=scope).get("host", ""))
            if host is None or host[1].lower() not in self._names:
                answer = problem(400, "foreign-host", "this node is not asked by that name; see RAPPORT_HOST")
        await answer(scope, receive, send)


class OwnSite:
    """A page of another site, open in somebody's browser, may read nothing here and must not write either."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes on, or answers 403."""
        answer: ASGIApp = self._app
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            headers = Headers(scope=scope)
            if _is_foreign(headers.get("origin"), headers.get("host")) or headers.get("sec-fetch-site") == "cross-site":
                answer = problem(403, "cross-site", "requests from another site's page are not taken")
        await answer(scope, receive, send)


def _is_foreign(origin: str | None, host: str | None) -> bool:
    """Whether a request that comes from `origin`, if it says so, comes from elsewhere; what is no origin does."""
    try:
        return origin is not None and urlsplit(origin).netloc != host
    except ValueError:
        return True
