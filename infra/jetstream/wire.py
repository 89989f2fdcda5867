"""nats-py with a short way in and out for the messages a ledger handles by the ten thousand.

nats-py parses every header in Python, queues every message and makes a task of every request: 11–17 k messages/s.
Subscriptions registered as a `Sink` get their frames as bytes straight from the protocol parser, and `send` writes a
frame that is already bytes. Everything else (login, TLS, clusters, reconnects, pings) stays nats-py's.
"""

from __future__ import annotations

from collections.abc import Callable

from nats.aio.client import Client
from nats.errors import ConnectionClosedError, ConnectionReconnectingError, MaxPayloadError

Sink = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Takes subject, reply subject, body and raw header block (None without one); runs on the connection's loop."""


class WireClient(Client):
    """A nats-py client whose listed subscriptions bypass header parsing and queues."""

    def __init__(self) -> None:
        super().__init__()
        self._sinks: dict[int, Sink] = {}

    async def listen(self, subject: str, sink: Sink) -> int:
        """Hands every frame on `subject` to `sink`, also after a reconnect. Returns the handle for `unlisten`."""
        subscription = await self.subscribe(subject)
        handle: int = subscription._id
        self._sinks[handle] = sink
        return handle

    def mute(self, handle: int) -> None:
        """Drops every frame from now on; `unlisten` later tells the server."""
        if handle in self._sinks:
            self._sinks[handle] = _drop

    async def unlisten(self, handle: int) -> None:
        """Stops what `listen` began; frames on their way are dropped."""
        self._sinks.pop(handle, None)
        subscription = self._subs.get(handle)
        if subscription is not None and not self.is_closed:
            await subscription.unsubscribe()

    async def send(self, subject: str, reply: str, header: bytes, body: bytes) -> None:
        """Writes one message, flushed soon. `header` is a whole block (`NATS/1.0\\r\\n…\\r\\n\\r\\n`) or empty.

        Raises ConnectionReconnectingError rather than buffering while there is no connection, ConnectionClosedError
        after close, MaxPayloadError when the server would refuse the size.
        """
        if self.is_closed:
            raise ConnectionClosedError
        if not self.is_connected:
            raise ConnectionReconnectingError
        size = len(header) + len(body)
        if size > self.max_payload:
            raise MaxPayloadError
        verb = f"HPUB {subject} {reply} {len(header)}" if header else f"PUB {subject} {reply}"
        await self._send_command(b"".join((verb.encode(), b" %d\r\n" % size, header, body, b"\r\n")))
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        sink = self._sinks.get(sid)
        if sink is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            sink(subject, reply, data, headers)


def _drop(subject: bytes, reply: bytes, body: bytes, header: bytes | None) -> None:
    """A sink for what nobody wants any more."""
