"""How much a request may bring, asked before anything of it is looked at; and what becomes of one that breaks off."""

from contextlib import suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import MAX_BODY_BYTES, too_large

COUNTING_THEMSELVES = ("/v1/interactions", "/v1/webhooks/")
"""They take bodies as streams: by the line, and by the delivery."""


class BodyLimit:
    """The middleware: 413 for a body that is too long, by what it says of itself, and by what then comes.

    Who hangs up before the body is whole has no answer, and that is no fault: whatever was reading it just ends.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes on, or answers 413."""
        with suppress(ClientDisconnect):
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(COUNTING_THEMSELVES):
            await self._app(scope, receive, send)
            return
        said = Headers(scope=scope).get("content-length", "0")
        if not said.isdecimal() or int(said[:20]) > MAX_BODY_BYTES:
            await too_large()(scope, receive, send)
            return
        got = 0

        async def receiving() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > MAX_BODY_BYTES:
                raise HTTPException(413)
            return message

        await self._app(scope, receiving, send)
