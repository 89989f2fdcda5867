"""How much a request may bring and how long that may take, asked before anything of it is looked at; and what becomes
of one that breaks off.
"""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import MAX_BODY_BYTES, too_large
from api.http.streaming import NDJSON

OF_ANY_LENGTH = "/v1/interactions"
"""It takes NDJSON, and counts its lines."""
WITHIN_S = 30.0
"""A body that is not whole by then is given up."""
NEXT_WITHIN_S = 60.0
"""Of one of any length the next piece comes within that time."""
ENDED = {"Connection": "close"}
"""With an answer to a body that does not end: nothing more of it is waited for."""


class BodyLimit:
    """The middleware: 413 for a body that is too long, by what it says of itself, and by what then comes; 408 for one
    that does not come to its end.

    Who hangs up before the body is whole has no answer, and that is no fault: whatever was reading it just ends.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes on, or answers 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with suppress(ClientDisconnect):
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if scope["path"] == OF_ANY_LENGTH and NDJSON in headers.get("content-type", ""):
            await self._app(scope, _coming(receive), send)
            return
        said = headers.get("content-length", "0")
        if not said.isdecimal() or int(said[:20]) > MAX_BODY_BYTES:
            await too_large(scope["path"])(scope, receive, send)
            return
        await self._app(scope, _soon_whole(receive), send)


def _soon_whole(receive: Receive) -> Receive:
    """The same messages. Raises HTTPException when the body is too long, or not whole in time."""
    got, until, over = 0, 0.0, False

    async def receiving() -> Message:
        nonlocal got, until, over
        if over:  # what comes behind the body is that somebody hangs up, which has time
            return await receive()
        until = until or asyncio.get_running_loop().time() + WITHIN_S
        message = await _before(until, receive, f"a request's body is whole within {WITHIN_S:g} s")
        got += len(message.get("body", b""))
        if got > MAX_BODY_BYTES:
            raise HTTPException(413)
        over = not message.get("more_body")
        return message

    return receiving


def _coming(receive: Receive) -> Receive:
    """The same messages. Raises HTTPException when the next does not come in time."""
    over = False

    async def receiving() -> Message:
        nonlocal over
        if over:
            return await receive()
        until = asyncio.get_running_loop().time() + NEXT_WITHIN_S
        said = f"nothing came for {NEXT_WITHIN_S:g} s; lines before that may be recorded, and all may be sent again"
        message = await _before(until, receive, said)
        over = not message.get("more_body")
        return message

    return receiving


async def _before(until: float, receive: Receive, said: str) -> Message:
    try:
        async with asyncio.timeout_at(until):
            return await receive()
    except TimeoutError:
        raise HTTPException(408, said, ENDED) from None
