"""NDJSON that is answered while the request is still being read, in constant memory.

Many clients send all they have before they read anything. An answer that waited for them to read would stop the
reading of what they send, and both would wait for ever: so what cannot be sent yet goes to a file.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

NDJSON = "application/x-ndjson"
PIECE_BYTES = 64_000


class AsTheyCome(Response):
    """Lines as they are made. What fails before the first is raised, so that the answer can be a problem document."""

    media_type = NDJSON

    def __init__(self, lines: AsyncIterator[bytes], folder: Path) -> None:
        """What has to wait does so in `folder`, in a file without a name."""
        super().__init__()
        del self.headers["content-length"]
        self._lines, self._folder = lines, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's form
        """Answers. When whoever asked goes away, reading ends too."""
        first = await anext(self._lines, b"")
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with TemporaryFile(dir=self._folder) as file:
            file.write(first)
            more = asyncio.Event()
            writing = asyncio.create_task(self._write(file, more))
            try:
                await self._send(file, more, writing, send)
            finally:
                writing.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _write(self, file: IO[bytes], more: asyncio.Event) -> None:
        try:
            async for line in self._lines:
                file.seek(0, 2)
                file.write(line)
                more.set()
        finally:
            more.set()

    async def _send(self, file: IO[bytes], more: asyncio.Event, writing: asyncio.Task[None], send: Send) -> None:
        at = 0
        while True:
            more.clear()
            is_last = writing.done()
            file.seek(at)
            if piece := file.read(PIECE_BYTES):
                at += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            elif is_last:
                return writing.result()
            else:
                await more.wait()


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """The file from where it stands to its end; closed afterwards, whatever happens."""
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece
