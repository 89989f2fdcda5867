"""What runs in the door's process: an HTTP server that answers deliveries, and hands all else to the node."""

import asyncio
import json
import os
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.handing import CONNECTION, FIGURES, READY, SETTINGS, STOP, Frame, received, send
from api.http import problems
from api.http.arriving import Arriving
from api.http.connections import Connections
from api.http.correlating import Correlating
from api.http.problems import problem
from api.http.threads import Threads
from api.http.traced import Traced
from api.http.webhooks import Door
from api.reception import Reception
from infra import tracing
from infra.crypto.master import master_key
from infra.ingest import Queue, Seals
from infra.jetstream import Connection
from infra.jetstream.access import access
from infra.settings import Settings
from infra.webhook_secrets import WebhookSecrets

PLACE = "/v1/webhooks/"
DELIVERY = b"POST " + PLACE.encode()
TELL_EVERY_S = 0.2


class ToNode:
    """What goes to the node, in its order, from a thread of its own: a node that is busy holds nothing up here."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._connections: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._figures: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="rapport-to-node", daemon=True)

    def start(self) -> None:
        """Begins, and says that the door is open."""
        send(self._channel, READY)
        self._thread.start()

    def stop(self) -> None:
        """Returns when all is sent."""
        self._connections.put(None)
        self._thread.join()

    def hand(self, descriptor: int, begun: bytes) -> None:
        """The node answers on this connection, of which `begun` was read; the descriptor is closed here."""
        self._connections.put((descriptor, begun))

    def note(self, provider: str, outcome: str, count: int = 1) -> None:
        """As `infra.metrics.Deliveries`, which the node keeps."""
        with self._counting:
            self._figures[provider, outcome] += count

    def _run(self) -> None:
        told_s = time.monotonic()
        while True:
            try:
                handed = self._connections.get(timeout=TELL_EVERY_S)
            except queue.Empty:
                pass
            else:
                if handed is None:
                    self._tell()
                    return
                descriptor, begun = handed
                send(self._channel, CONNECTION, begun, descriptor)
                os.close(descriptor)
            if time.monotonic() - told_s >= TELL_EVERY_S:
                self._tell()
                told_s = time.monotonic()

    def _tell(self) -> None:
        with self._counting:
            figures, self._figures = self._figures, Counter()
        if figures:
            send(self._channel, FIGURES, json.dumps([(*what, count) for what, count in figures.items()]).encode())


class Sorting(H11Protocol):
    """One connection: a request that is no delivery takes it to the node, unless it came right behind one."""

    to_node: ToNode

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._begun = b""

    def data_received(self, data: bytes) -> None:
        """What was sent; the first bytes of a request are kept until it is clear whose it is."""
        if self.conn.their_state is not h11.IDLE or self.conn.trailing_data[0]:
            super().data_received(data)
            return
        begun, self._begun = self._begun + data, b""
        if begun.startswith(DELIVERY):
            super().data_received(begun)
        elif DELIVERY.startswith(begun):
            self._begun = begun
        else:
            self._unset_keepalive_if_required()
            self.to_node.hand(os.dup(self.transport.get_extra_info("socket").fileno()), begun)
            self.transport.abort()  # closes ours, and sends nothing


Entry = tuple[Connection, Reception]


class Server(uvicorn.Server):
    """Stopped by the node alone, which has signals of its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None."""
        yield


def stand(settings: Settings, listener: socket.socket, channel: socket.socket) -> None:
    """Waits to be let in, then serves until the node stops it; ends with the process when the node is gone."""
    frames = received(channel)
    first = next(frames, None)
    if first is None or first.kind != SETTINGS:
        return
    to_node = ToNode(channel)
    over = tracing.start()
    try:
        with _reception(settings, json.loads(first.body), to_node) as (connection, reception):
            serving = _serve(reception, to_node, frames, listener)
            # On the connection's own loop: what goes to the server and comes back waits for no other thread.
            asyncio.run_coroutine_threadsafe(serving, connection.loop).result()
    finally:
        over()


@contextmanager
def _reception(
    settings: Settings, given: dict[str, str | None], to_node: ToNode
) -> Iterator[tuple[Connection, Reception]]:
    servers = settings.nats_access() or access(given["url"] or "")
    secret = settings.master_key.get_secret_value() if settings.master_key else None
    master = master_key(secret, settings.master_key_file, given["master_key_id"])
    with Connection(servers) as connection:
        queued = Queue(connection, Seals(connection, master, settings.replicas), settings.replicas)
        with closing(Reception(connection, queued, WebhookSecrets(settings.webhooks_file), to_node)) as reception:
            yield connection, reception


async def _serve(reception: Reception, to_node: ToNode, frames: Iterator[Frame], listener: socket.socket) -> None:
    app = create_app(reception)
    protocol = type("Handing", (Sorting,), {"to_node": to_node})
    server = Server(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=10,
        )
    )
    app.state.connections = server.server_state.connections

    def watch() -> None:
        if (frame := next(frames, None)) is None or frame.kind != STOP:
            os._exit(1)  # the node is gone: nothing is to be taken in its name
        server.should_exit = True

    threading.Thread(target=watch, name="rapport-watching", daemon=True).start()
    to_node.start()
    await server.serve(sockets=[listener])
    to_node.stop()


async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what is no delivery and came right behind one, before that was answered (RFC 9110, 15.5.20)."""
    if scope["path"].startswith(PLACE):
        answer = problem(404, "http", "Not Found")
    else:
        close = {"Connection": "close"}
        answer = problem(421, "misdirected", "ask this over a connection of its own, or wait for the answer", close)
    await answer(scope, receive, send)


def create_app(reception: Reception) -> Starlette:
    """What answers deliveries, as the node's own application does."""
    app = Starlette()
    app.router.default = elsewhere
    app.state.reception = lambda: reception
    app.state.arriving = Arriving()
    app.state.threads = Threads()
    app.state.connections = ()
    problems.install(app)
    app.add_middleware(Door)
    app.add_middleware(Connections)
    if tracing.is_on():
        app.add_middleware(Traced)
    app.add_middleware(Correlating)
    return app
