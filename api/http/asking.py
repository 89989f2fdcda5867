"""Who asks is known before anything of what they send is read: what every route of the application begins with.

FastAPI takes in a body, and decodes it, before it asks the first of a route's dependencies. So a stranger's would be
held and decoded on the loop that answers everybody, to be told then that a token is wanted.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import Any

import orjson
from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api.http.arriving import Arriving, NotWhole
from api.http.backpressure import ComeAgain
from api.http.callers import permitted
from api.http.problems import MAX_BODY_BYTES
from api.reception import SHORT_BYTES


class AskedFirst(APIRoute):
    """A route that asks for the token first, and then takes in the body, if it has one: of all together so much."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's, behind that."""
        handle = super().get_route_handler()

        async def asked(request: Request) -> Response:
            await permitted(request)
            async with AsyncExitStack() as held:
                taken = _Taken(request, held)
                if self.body_field is not None:
                    await taken.body()
                return await handle(taken)

        return asked


class _Taken(Request):
    """A request whose body counts until it is answered, and is decoded, when it is long, on a thread."""

    def __init__(self, request: Request, held: AsyncExitStack) -> None:
        super().__init__(request.scope, request.receive)
        self._held = held

    async def body(self) -> bytes:
        """The whole of it. Raises ComeAgain or HTTPException."""
        if not hasattr(self, "_body"):
            bodies: Arriving = self.app.state.bodies
            self._body = await self._held.enter_async_context(whole(bodies, self.stream()))
        return self._body

    async def json(self) -> Any:
        """What it says. Raises JSONDecodeError."""
        if not hasattr(self, "_json"):
            body = await self.body()
            self._json = orjson.loads(body) if len(body) <= SHORT_BYTES else await run_sync(orjson.loads, body)
        return self._json


@asynccontextmanager
async def whole(arriving: Arriving, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A JSON body, which counts until the block is left. Raises ComeAgain or HTTPException."""
    try:
        async with arriving.body(pieces, MAX_BODY_BYTES) as body:
            yield body
    except NotWhole as error:
        if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise ComeAgain("busy", "too many JSON bodies come at a time", 1) from None
        raise HTTPException(error.status, str(error)) from None
