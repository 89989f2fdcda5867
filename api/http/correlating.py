"""What ties a request to what came of it: log lines, events in the ledger, rows of the views, messages on the feed.

It is the trace id of W3C Trace Context (https://www.w3.org/TR/trace-context/), 32 hexadecimal digits, which events have
as `correlation`. A caller that traces sends it in `traceparent`, or in `X-Request-Id`; else the request gets one.
"""

import re
import time
from secrets import token_hex

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api.http.traced import route_of

HEADER = "X-Request-Id"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
_ID = re.compile(r"[0-9a-f]{32}")
_NONE = "0" * 32

log = structlog.get_logger()


class Correlating:
    """The middleware: the id is in the request's state, in every log line meanwhile, and in the answer.

    At level debug each request is a line, without anything of its address but the route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id_ = _of(Headers(scope=scope))
        scope.setdefault("state", {})["correlation"] = id_
        began_s, status = time.perf_counter(), None

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = id_
            await send(message)

        with bound_contextvars(correlation=id_):
            try:
                await self._app(scope, receive, sending)
            finally:
                seconds = round(time.perf_counter() - began_s, 6)
                log.debug("answered", method=scope["method"], route=route_of(scope), status=status, seconds=seconds)


def _of(headers: Headers) -> str:
    traced = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    said = traced[1] if traced else headers.get(HEADER, "").replace("-", "").lower()
    return said if _ID.fullmatch(said) and said != _NONE else token_hex(16)
