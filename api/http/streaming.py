"""NDJSON that is answered while the request is still being read, in constant memory.

Many clients send all they have before they read anything. An answer that waited for them to read would stop the
reading of what they send, and both would wait for ever: so what cannot be sent yet goes to a file. It does not grow
without end: a line of two bytes has an outcome of a hundred.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

NDJSON = "application/x-ndjson"
_CALLED = {NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines"}
PIECE_BYTES = 64_000
MOST_WAITING_BYTES = 256_000_000
"""Of one answer, about two million outcomes. While as much waits to be taken, nothing more of the request is read."""
TAKEN_WITHIN_S = 60.0
"""By then something of it is taken, or the connection is given up."""


def is_ndjson(content_type: str) -> bool:
    """Whether a body of this type has a document a line, by any of the names there are for it."""
    return content_type.partition(";")[0].strip().lower() in _CALLED


def wants_ndjson(accept: str) -> bool:
    """Whether one of the types that are asked for is that."""
    return any(is_ndjson(one) for one in accept.split(","))


class AsTheyCome(Response):
    """Lines as they are made. What fails before the first is raised, so that the answer can be a problem document."""

    media_type = NDJSON

    def __init__(self, lines: AsyncIterator[bytes], folder: Path) -> None:
        """What has to wait does so in `folder`, in a file without a name."""
        super().__init__()
        del self.headers["content-length"]
        self._lines, self._folder = lines, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's form
        """Answers. When whoever asked goes away, reading ends too.

        Raises ClientDisconnect when nothing is taken for `TAKEN_WITHIN_S`, and no more may wait.
        """
        first = await anext(self._lines, b"")
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with TemporaryFile(dir=self._folder) as file:
            waiting = _Waiting(file)
            waiting.put(first)
            try:
                async with asyncio.timeout(None) as patience:
                    writing = asyncio.create_task(self._write(waiting, patience))
                    try:
                        await self._send(waiting, writing, send)
                    finally:
                        writing.cancel()
            except TimeoutError:
                raise ClientDisconnect from None
        await send({"type": "http.response.body", "body": b""})

    async def _write(self, waiting: "_Waiting", patience: asyncio.Timeout) -> None:
        try:
            async for line in self._lines:
                waiting.put(line)
                if waiting.is_full:
                    await self._room(waiting, patience)
        finally:
            waiting.more.set()

    async def _room(self, waiting: "_Waiting", patience: asyncio.Timeout) -> None:
        while waiting.is_full:
            patience.reschedule(asyncio.get_running_loop().time() + TAKEN_WITHIN_S)
            waiting.taken.clear()
            await waiting.taken.wait()
        patience.reschedule(None)

    async def _send(self, waiting: "_Waiting", writing: asyncio.Task[None], send: Send) -> None:
        while True:
            waiting.more.clear()
            is_last = writing.done()
            if piece := waiting.take():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            elif is_last:
                return writing.result()
            else:
                await waiting.more.wait()


class _Waiting:
    """What is made and not sent yet: in a file, which is emptied whenever all of it is sent."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begin = self._end = 0
        self.more, self.taken = asyncio.Event(), asyncio.Event()

    @property
    def is_full(self) -> bool:
        return self._end >= MOST_WAITING_BYTES

    def put(self, line: bytes) -> None:
        self._file.seek(self._end)
        self._end += self._file.write(line)
        self.more.set()

    def take(self) -> bytes:
        """The next piece, when the one before is sent; empty when there is none."""
        self.taken.set()
        if self._begin == self._end:
            self._file.truncate(0)
            self._begin = self._end = 0
        self._file.seek(self._begin)
        piece = self._file.read(PIECE_BYTES)
        self._begin += len(piece)
        return piece


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """The file from where it stands to its end; closed afterwards, whatever happens."""
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece
