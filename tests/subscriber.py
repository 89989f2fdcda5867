"""A guest's client: a real connection to a real server, by the key that `subscribers add` hands out, or the door's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread

import nats.errors

from api.cli.subscribers import python_of
from infra.feed_access import API
from infra.jetstream.nkey import Nkey
from infra.jetstream.wire import WireClient

HEARD_WITHIN_S = 30.0


class Client(WireClient):
    """`refusals` is what the server said that it would not do."""

    refusals: list[str]

    async def is_refused(self, subject: str, body: bytes = b"", reply: str = "") -> bool:
        """Whether the server says that this may not be published."""
        self.refusals.clear()
        await self.publish(subject, body, reply=reply)
        return await self._refused()

    async def is_deaf_to(self, subject: str) -> bool:
        """Whether the server says that this may not be subscribed to."""
        self.refusals.clear()
        await self.subscribe(subject)
        return await self._refused()

    async def answer(self, subject: str, body: bytes = b"") -> bytes | None:
        """What comes back on a request; None when nothing does."""
        try:
            return bytes((await self.request(subject, body, timeout=HEARD_WITHIN_S)).data)
        except (TimeoutError, nats.errors.Error):
            return None

    async def take(self, name: str, count: int) -> list[int]:
        """The positions of the next messages, acknowledged."""
        subscription = await self.jetstream(prefix=API).pull_subscribe_bind(name, "FEED")
        found: list[int] = []
        while len(found) < count:
            for message in await subscription.fetch(count - len(found), timeout=30):
                found.append(message.metadata.sequence.stream)
                await message.ack_sync(timeout=30)
        await subscription.unsubscribe()
        return found

    async def _refused(self) -> bool:
        await self.flush()
        for _ in range(20):  # the server has said it by now, and a task of the client may have yet to pass it on
            if self.refusals:
                break
            await asyncio.sleep(0.005)
        return any("permissions violation" in refusal.lower() for refusal in self.refusals)


@asynccontextmanager
async def logged_in(server: str, seed: str | None = None) -> AsyncIterator[Client]:
    """By key, or by what the address says. Raises a nats error when that is refused."""
    pair, client = seed and Nkey.read(seed), Client()
    client.refusals, client.public_nkey = [], pair and pair.public

    async def note(error: Exception) -> None:
        client.refusals.append(str(error))

    signing = {"signature_cb": pair.sign} if pair else {}
    await client.connect(server, error_cb=note, allow_reconnect=False, connect_timeout=15, **signing)
    try:
        yield client
    finally:
        await client.close()


@contextmanager
def running_as(made: Mapping[str, str], folder: Path) -> Iterator[Queue[str | None]]:
    """The program that `subscribers add` prints, as it is printed, in a process of its own; each line that it prints,
    and None when it has ended."""
    (folder / f"{made['name']}.nk").write_text(made["secret"])
    lines = Queue[str | None]()
    with subprocess.Popen(
        [sys.executable, "-c", python_of(made)], stdout=subprocess.PIPE, cwd=folder, text=True
    ) as program:

        def read() -> None:
            assert program.stdout is not None
            for line in program.stdout:
                if line.endswith("\n"):
                    lines.put(line)
            lines.put(None)

        reading = Thread(target=read)
        reading.start()
        try:
            yield lines
        finally:
            program.kill()
            reading.join()
