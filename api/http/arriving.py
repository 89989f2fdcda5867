"""Bodies at a door that is open to anybody: how long each may take to come, and how much there may be of all of them.

Until a body is whole nobody knows whose it is, and whoever reaches the door can begin one. So what is kept of all of
them has a limit, and where that is reached the longest one still coming gives way: somebody who fills the door with
what never ends loses it again, and a provider's delivery, which is small and there in a moment, finds room.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

WITHIN_S = 10.0
"""A body that is not whole by then is given up."""
MOST_BYTES = 64_000_000
"""Of all bodies together that are coming or in use."""


class NotWhole(Exception):
    """A body that is not taken in; `status`, `code` and the message are the answer."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code


class Arriving:
    """The bodies at one door; for the loop of its HTTP server alone."""

    def __init__(self, most_bytes: int = MOST_BYTES, within_s: float = WITHIN_S) -> None:
        self._most, self._within_s = most_bytes, within_s
        self._coming: set[_Body] = set()
        self.held_bytes = 0
        """Of bodies that are coming or in use."""

    @asynccontextmanager
    async def body(self, pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
        """The body of up to `limit` bytes; it counts until the block is left. Raises NotWhole.

        What `pieces` raises is raised.
        """
        body = _Body(asyncio.timeout(self._within_s))
        try:
            await self._take_in(body, pieces, limit)
            yield body.whole()
        finally:
            self._release(body)

    async def _take_in(self, body: "_Body", pieces: AsyncIterator[bytes], limit: int) -> None:
        try:
            async with body.time:
                self._coming.add(body)
                async for piece in pieces:
                    if body.size + len(piece) > limit:
                        raise NotWhole(413, "too-large", f"a delivery may have {limit:,} bytes here")
                    self._make_room(body, len(piece))
                    body.add(piece)
                    self.held_bytes += len(piece)
        except TimeoutError:
            if body.gave_way:
                raise _no_room() from None
            raise NotWhole(408, "too-slow", f"a delivery is whole within {self._within_s:g} s") from None
        finally:
            self._coming.discard(body)

    def _make_room(self, body: "_Body", size: int) -> None:
        while self.held_bytes + size > self._most:
            longest = max(self._coming, key=lambda b: b.size, default=body)
            if longest.size <= body.size:
                raise _no_room()
            self._coming.discard(longest)
            self._release(longest)
            longest.give_way()

    def _release(self, body: "_Body") -> None:
        self.held_bytes -= body.size
        body.drop()


class _Body:
    def __init__(self, time: asyncio.Timeout) -> None:
        self.time = time
        self.gave_way = False
        self.size = 0
        self._pieces: list[bytes] = []

    def give_way(self) -> None:
        self.gave_way = True
        if not self.time.expired():
            self.time.reschedule(0.0)

    def add(self, piece: bytes) -> None:
        if self.gave_way:  # and its task has yet to hear of it
            raise _no_room()
        self._pieces.append(piece)
        self.size += len(piece)

    def whole(self) -> bytes:
        self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def drop(self) -> None:
        self._pieces, self.size = [], 0


def _no_room() -> NotWhole:
    return NotWhole(503, "webhooks-busy", "too much comes at a time; send it again")
