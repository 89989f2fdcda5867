"""One run along a stream: a consumer, the pulls on it, and the proof that nothing was skipped or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

import orjson
from eventsourcing.persistence import OperationalError

from infra.jetstream.connection import Connection
from infra.jetstream.replies import ApiError, ConnectionLost
from infra.jetstream.stream import STREAM_NOT_FOUND, Stream, original_time_ns

PULL_S = 30.0
HEARTBEAT_S = 2.0
UNUSED_S = 120.0
BEGIN_S = 3.0
NS = 1_000_000_000
HEARTBEAT = b"NATS/1.0 100"
# A pull that is over with the consumer still fine says how many of its messages it did not send.
PULL_OVER = (b"NATS/1.0 404", b"NATS/1.0 408")
_UNSENT = b"Nats-Pending-Messages: "


class RawMessage(NamedTuple):
    """A stored message: its place, when the ledger first took it, and its bytes."""

    seq: int
    time_ns: int
    subject: str
    body: bytes


PassedOver = Callable[[int, int], Sequence[RawMessage]]
"""What stands for messages that the stream does not hold any more, from a first to a last seq, in order."""


class Follower(Iterator[list[RawMessage]]):
    """An iterator of batches for one thread; `stop()` may come from any other. Leaving the `with` block stops it."""

    def __init__(
        self,
        connection: Connection,
        stream: Stream,
        after_seq: int,
        max_batch: int,
        max_wait_s: float,
        passed_over: PassedOver | None = None,
    ) -> None:
        """With `passed_over`, what it answers is handed out where the stream passes over seqs."""
        self._passed_over = passed_over
        self._handed = after_seq  # the last seq that was handed out, or asked of `passed_over`
        self._filled: list[RawMessage] = []
        self._full = False  # whether the last batch was, so that more may be had at once
        self._connection = connection
        self._stream = stream
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._last = after_seq  # the last message received
        self._buffer: list[RawMessage] = []
        self._stopped = False
        self._ready = asyncio.Event()
        self._consumer: str | None = None  # None while there is no consumer to be trusted
        self._consumer_seq = 0
        self._inbox = ""
        self._handle: int | None = None
        self._wanted = 0  # messages that the pulls sent still ask for
        self._pending = 0  # messages that the stream has for us
        self._heard_at = 0.0
        self._trouble: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __next__(self) -> list[RawMessage]:
        """The next batch; empty after `max_wait_s` without messages. Raises StopIteration after `stop()`."""
        if self._passed_over is None:
            return self._received()
        while len(self._filled) < self._max_batch and (self._full or not self._filled):
            batch = self._received()
            self._full = len(batch) == self._max_batch
            self._fill(batch, self._passed_over)
            if not batch:
                break
        batch, self._filled = self._filled[: self._max_batch], self._filled[self._max_batch :]
        return batch

    def _fill(self, batch: Sequence[RawMessage], passed_over: PassedOver) -> None:
        for message in batch:
            if message.seq > self._handed + 1:
                self._filled += passed_over(self._handed + 1, message.seq - 1)
            self._filled.append(message)
            self._handed = message.seq

    def _received(self) -> list[RawMessage]:
        if self._stopped:
            raise StopIteration
        batch = self._connection.call(self._take(), self._max_wait_s + self._connection.request_timeout_s + 5.0)
        if batch is None:
            raise StopIteration
        return batch

    def stop(self) -> None:
        """Ends the iteration, also one that is waiting right now. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        self._connection.post(self._leave())

    def complain(self) -> NoReturn:
        """Raises OperationalError with what keeps the messages away."""
        raise OperationalError(f"the stream {self._stream.name} cannot be read: {self._trouble}") from self._trouble

    async def _take(self) -> list[RawMessage] | None:
        deadline = self._connection.loop.time() + self._max_wait_s
        while not self._stopped:
            try:
                await self._keep_pulling()
            except ConnectionLost as error:
                self._trouble = error
                self._consumer = None
            remaining = deadline - self._connection.loop.time()
            if self._is_batch() or (remaining <= 0 and self._buffer):
                batch, self._buffer = self._buffer[: self._max_batch], self._buffer[self._max_batch :]
                return batch
            if remaining <= 0:
                return []
            self._ready.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), min(remaining, HEARTBEAT_S if self._consumer else 0.05))
        return None

    def _is_batch(self) -> bool:
        """As many as asked for, or all there are for now."""
        count = len(self._buffer)
        return count >= self._max_batch or (count > 0 and (self._pending == 0 or self._consumer is None))

    async def _keep_pulling(self) -> None:
        if self._wanted > 0 and self._connection.loop.time() - self._heard_at > 2.5 * HEARTBEAT_S:
            self._doubt()
        if self._consumer is None:
            await self._begin()
        # Up to two batches ahead of the caller: the server sends while the caller works.
        if len(self._buffer) + self._wanted <= self._max_batch:
            request = {"batch": self._max_batch, "expires": int(PULL_S * NS), "idle_heartbeat": int(HEARTBEAT_S * NS)}
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream.name}.{self._consumer}"
            self._heard_at = self._connection.loop.time()
            self._wanted += self._max_batch
            await self._connection.send(subject, orjson.dumps(request), b"", self._inbox)

    async def _begin(self) -> None:
        """A new consumer behind the last message received, with an inbox of its own: nothing old can come in."""
        if not self._connection.is_connected:
            raise ConnectionLost("not connected to NATS")
        await self._hang_up()
        name = f"reader-{secrets.token_hex(8)}"
        self._inbox = self._connection.client.new_inbox()
        self._wanted = self._consumer_seq = 0
        self._handle = await self._connection.client.listen(self._inbox, self._receive)
        self._connection.on_break.add(self._doubt)
        request = {"stream_name": self._stream.name, "config": _consumer_config(name, self._last), "action": "create"}
        try:
            made = await asyncio.wait_for(
                self._connection.api(f"CONSUMER.CREATE.{self._stream.name}.{name}", request), BEGIN_S
            )
        except TimeoutError:
            raise ConnectionLost(f"the stream {self._stream.name} does not answer") from None
        except ApiError as error:
            if error.code != STREAM_NOT_FOUND:
                raise ConnectionLost(f"no reading from {self._stream.name} yet: {error.description}") from error
            raise OperationalError(f"there is no stream {self._stream.name}") from error
        self._pending = made["num_pending"]
        self._consumer = name

    def _receive(self, subject: bytes, reply: bytes, body: bytes, header: bytes | None) -> None:
        self._heard_at = self._connection.loop.time()
        if not reply.startswith(b"$JS.ACK."):
            self._hear(header or b"")
            return
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>; newer servers may put
        # two tokens before the stream and one behind.
        tokens = reply.split(b".")
        at = 5 if len(tokens) == 9 else 7
        seq = int(tokens[at])
        number = int(tokens[at + 1])
        if number != self._consumer_seq + 1 or seq <= self._last:
            self._doubt()
            return
        self._consumer_seq = number
        self._last = seq
        self._wanted -= 1
        self._pending = int(tokens[at + 3])
        time_ns = original_time_ns(header, int(tokens[at + 2]))
        self._buffer.append(RawMessage(seq, time_ns, subject.decode(), body))
        if self._pending == 0 or len(self._buffer) == self._max_batch:
            self._ready.set()

    def _hear(self, header: bytes) -> None:
        """A word from the server about a pull: still there, over, or (anything else) not to be trusted any more."""
        if header.startswith(HEARTBEAT):
            return
        at = header.find(_UNSENT)
        if header.startswith(PULL_OVER) and at >= 0:
            at += len(_UNSENT)
            self._wanted -= int(header[at : header.index(b"\r", at)])
            self._ready.set()
        else:
            self._doubt()

    def _doubt(self) -> None:
        self._consumer = None
        self._wanted = 0
        if self._handle is not None:
            self._connection.client.mute(self._handle)
        self._ready.set()

    async def _hang_up(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            await self._connection.client.unlisten(handle)

    async def _leave(self) -> None:
        self._ready.set()
        self._connection.on_break.discard(self._doubt)
        await self._hang_up()
        if self._consumer is not None:
            with contextlib.suppress(ConnectionLost):
                await self._connection.send(f"$JS.API.CONSUMER.DELETE.{self._stream.name}.{self._consumer}", b"")


def _consumer_config(name: str, after_seq: int) -> dict[str, Any]:
    return {
        "name": name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": after_seq + 1,
        "ack_policy": "none",
        "replay_policy": "instant",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": int(UNUSED_S * NS),
    }
