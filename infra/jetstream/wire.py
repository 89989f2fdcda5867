"""nats-py with a short way in and out for the messages a ledger handles by the ten thousand.

nats-py parses every header in Python, queues every message and makes a task of every request: 11–17 k messages/s.
Subscriptions registered as a `Sink` get their frames as bytes straight from the protocol parser, and `write` takes
headers that are already bytes. Everything else (login, TLS, clusters, reconnects, pings) stays nats-py's.
"""

from __future__ import annotations

import copy
import ssl
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.errors import ConnectionClosedError, ConnectionReconnectingError, Error, MaxPayloadError

from infra.jetstream.frames import Sink, SinkParser

READ_BYTES = 1 << 20
"""What is taken from the socket at a time, if it is there. nats-py takes 32 KB: a log is then read in pieces of some
sixty messages, and for each of them the loop waits until another thread gives up the interpreter."""


class Door(NamedTuple):
    """How to reach the server that a client is connected to, over another socket."""

    server: Any
    address: tuple[str, int]
    tls: ssl.SSLContext | None
    tls_name: str
    tls_first: bool
    connect: Callable[[dict[str, Any]], bytes]
    """The CONNECT line that logs in where the server greeted with this INFO."""
    server_id: str = ""
    """The run of the server; empty: any."""


class NoTlsError(OSError):
    """The server offers no TLS where TLS was asked for."""


class _InLargePieces(TcpTransport):
    async def connect(self, uri: Any, buffer_size: int, connect_timeout: int) -> None:  # noqa: ARG002 - its own size
        await super().connect(uri, READ_BYTES, connect_timeout)

    async def read(self, buffer_size: int) -> bytes:  # noqa: ARG002 - its own size
        found: bytes = await super().read(READ_BYTES)
        return found


class WireClient(Client):
    """A nats-py client whose listed subscriptions bypass header parsing and queues."""

    def __init__(self) -> None:
        super().__init__()
        self._sinks: dict[int, Sink] = {}
        self._ps = SinkParser(self, self._sinks)
        self.public_nkey: str | None = None
        """Whose signature `signature_cb` gives, where no JWT says so."""

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

    async def write(self, messages: Sequence[tuple[str, str, bytes, bytes]]) -> None:
        """Writes messages (subject, reply subject, header, body) in one go, flushed soon.

        A header is a whole block or empty. Raises ConnectionReconnectingError rather than buffering while there is no
        connection, ConnectionClosedError after close, MaxPayloadError when the server would refuse one of them for its
        size; then none is written.
        """
        if self.is_closed:
            raise ConnectionClosedError
        if not self.is_connected:
            raise ConnectionReconnectingError
        parts: list[bytes] = []
        for subject, reply, header, body in messages:
            size = len(header) + len(body)
            if size > self.max_payload:
                raise MaxPayloadError
            verb = f"HPUB {subject} {reply} {len(header)} {size}" if header else f"PUB {subject} {reply} {size}"
            parts += (verb.encode(), b"\r\n", header, body, b"\r\n")
        await self._send_command(b"".join(parts))
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _connect_to_server(self, s: Any) -> None:
        if not self._transport and s.uri.scheme in ("nats", "tls"):
            self._transport = _InLargePieces()  # type: ignore[no-untyped-call] # nats-py has no types
        await super()._connect_to_server(s)

    def door(self) -> Door:
        """The way to the server of the moment. Raises ConnectionReconnectingError without one, or over WebSocket."""
        server = self._current_server
        if not self.is_connected or server is None or server.uri.scheme not in ("nats", "tls"):
            raise ConnectionReconnectingError
        host, port = server.uri.hostname or "", server.uri.port or 0
        tls = self.ssl_context if self._server_info.get("tls_required") else None
        name = self.options.get("tls_hostname") or server.tls_name or host
        first = self.options["tls_handshake_first"]
        return Door(server, (host, port), tls, name, first, self._login, self._server_info.get("server_id", ""))

    def _connect_command(self) -> bytes:
        # nats-py speaks TLS when the server says so; whoever sits between could say it does not, and have the login.
        if self.options.get("tls") is not None and not self._server_info.get("tls_required"):
            raise NoTlsError("the server offers none")
        self._public_nkey = self.public_nkey
        command: bytes = super()._connect_command()
        return command

    def is_at(self, door: Door) -> bool:
        """Whether the client is connected to the server behind this door right now."""
        here = door.server is self._current_server and door.server_id == self._server_info.get("server_id", "")
        return bool(self.is_connected) and here

    def _login(self, info: dict[str, Any]) -> bytes:
        twin = copy.copy(self)
        twin._server_info = info  # with the nonce that this socket's login has to sign
        return twin._connect_command()

    async def _process_err(self, err_msg: str) -> None:
        # nats-py closes for good after most of what a server says before it hangs up, such as that a login expired.
        if "permissions violation" in err_msg.lower():
            await super()._process_err(err_msg)
        else:
            await self._process_op_err(Error(f"nats: {err_msg}"))

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        sink = self._sinks.get(sid)
        if sink is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            sink(subject, reply, data, headers)


def _drop(subject: bytes, reply: bytes, body: bytes, header: bytes | None) -> None:
    """A sink for what nobody wants any more."""
