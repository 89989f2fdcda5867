"""How much a request may bring and how long that may take, asked before anything of it is looked at; and what becomes
of one that breaks off.
"""

import asyncio
from contextlib import suppress
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.backpressure import Stopping
from api.http.problems import MAX_BODY_BYTES, has_two_lengths, too_large, two_lengths
from api.http.streaming import is_ndjson

OF_ANY_LENGTH = "/v1/interactions"
"""It takes NDJSON, and counts its lines."""
WITHIN_S = 30.0
"""A body that is not whole by then is given up."""
REST_WITHIN_S = 1.0
"""Of one that was refused before it was whole, what comes by then is let in."""
NEXT_WITHIN_S = 60.0
"""Of one of any length the next piece comes within that time."""
ENDED = {"Connection": "close"}
"""With an answer to a body that does not end: nothing more of it is waited for."""


class Coming:
    """The bodies of any length that are coming in, which would keep a node that stops from stopping."""

    def __init__(self) -> None:
        self.is_over = False
        self._waited_for: set[asyncio.Timeout] = set()

    def end(self) -> None:
        """Nothing more of them is waited for. For the loop that reads them."""
        self.is_over = True
        for patience in self._waited_for:
            patience.reschedule(0.0)

    async def next(self, receive: Receive) -> Message:
        """The next message of one. Raises Stopping, or TimeoutError where it does not come in time."""
        if self.is_over:
            raise Stopping
        try:
            async with asyncio.timeout(NEXT_WITHIN_S) as patience:
                self._waited_for.add(patience)
                try:
                    return await receive()
                finally:
                    self._waited_for.discard(patience)
        except TimeoutError:
            if self.is_over:
                raise Stopping from None
            raise


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
        if has_two_lengths(scope):
            await two_lengths()(scope, receive, send)
            return
        with suppress(ClientDisconnect):
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if scope["path"] == OF_ANY_LENGTH and is_ndjson(headers.get("content-type", "")):
            lines = _Lines(receive, headers, scope["app"].state.coming)
            await self._app(scope, lines.receive, lines.answering(send))
            return
        body = _Body(receive, headers)
        said = headers.get("content-length", "0")
        is_long = not said.isdecimal() or int(said[:20]) > MAX_BODY_BYTES
        answer: ASGIApp = too_large(scope["path"]) if is_long else self._app
        await answer(scope, body.receive, body.answering(send))


class _Body:
    """A body of limited length, as it comes."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive = receive
        self._until, self._got = 0.0, 0
        self._waits_to_be_asked = headers.get("expect", "").lower() == "100-continue"
        self.is_over = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"

    async def receive(self) -> Message:
        """The next message. Raises HTTPException when the body is too long, or not whole in time."""
        if self.is_over:  # what comes behind the body is that somebody hangs up, which has time
            return await self._receive()
        self._waits_to_be_asked = False
        self._until = self._until or asyncio.get_running_loop().time() + WITHIN_S
        message = await _before(self._until, self._receive, f"a request's body is whole within {WITHIN_S:g} s")
        self._got += len(message.get("body", b""))
        if self._got > MAX_BODY_BYTES:
            raise HTTPException(413)
        self.is_over = not message.get("more_body")
        return message

    def answering(self, send: Send) -> Send:
        """What sends an answer that may come, or end, before the body is over."""

        async def sending(message: Message) -> None:
            begins = message["type"] == "http.response.start"
            if message["status"] >= HTTPStatus.BAD_REQUEST if begins else not message.get("more_body"):
                await self._forget_rest()
                if begins and not self.is_over:
                    MutableHeaders(scope=message).update(ENDED)
            await send(message)

        return sending

    async def _forget_rest(self) -> None:
        """Lets in, for a moment, what is still to come, and keeps nothing of it.

        Who is refused while sending hears why; a connection that were shut at once would be reset before.
        """
        if self._waits_to_be_asked:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_WITHIN_S):
                while not self.is_over:
                    self.is_over = not (await self._receive()).get("more_body")


class _Lines(_Body):
    """A body of any length, as it comes."""

    def __init__(self, receive: Receive, headers: Headers, coming: Coming) -> None:
        super().__init__(receive, headers)
        self._coming = coming

    async def receive(self) -> Message:
        """The next message. Raises HTTPException when it does not come in time, or Stopping."""
        if self.is_over:
            return await self._receive()
        self._waits_to_be_asked = False
        try:
            message = await self._coming.next(self._receive)
        except TimeoutError:
            said = f"nothing came for {NEXT_WITHIN_S:g} s; lines before that may be recorded, and all may be sent again"
            raise HTTPException(408, said, ENDED) from None
        self.is_over = not message.get("more_body")
        return message


async def _before(until: float, receive: Receive, said: str) -> Message:
    try:
        async with asyncio.timeout_at(until):
            return await receive()
    except TimeoutError:
        raise HTTPException(408, said, ENDED) from None
