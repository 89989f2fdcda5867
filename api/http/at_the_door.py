"""What runs in the door's process: an HTTP server that answers deliveries, and hands all else to the node."""

import asyncio
import json
import os
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import h11
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.handing import CONNECTION, FIGURES, KEY, READY, SETTINGS, STOP, WORD, Frame, received, send
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
from infra.ingest import DOOR_API, inlet_of_door
from infra.ingest_seals import DayKey, LentKey
from infra.jetstream import Connection
from infra.jetstream.access import access
from infra.logging import fault_of
from infra.settings import Settings
from infra.webhook_secrets import WebhookSecrets

PLACE = "/v1/webhooks/"
DELIVERY = b"POST " + PLACE.encode()
TELL_EVERY_S = 0.2
GRACE_S = 5
MOST_WAITING = 32
"""Connections that the node has not taken yet. Each holds a file, of which a process has 1,024 as a rule."""
CUT_OFF = "deliveries are answered 503: the door has no connection to NATS"
KEYLESS = "deliveries are answered 503: the door does not know which key they are to be sealed under"
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
)
NOT_TAKEN = (
    b'{"type":"busy","title":"Service Unavailable","status":503,"detail":"the node takes no connection just now"}'
)


log = structlog.get_logger()


class ToNode:
    """What goes to the node, in its order, from a thread of its own: a node that is busy holds nothing up here."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._connections: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._figures: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()
        self.is_started = False
        """Whether the door is, or was, open."""
        self.word: Callable[[], str | None] = lambda: None
        """What is wrong at the door."""
        self._thread = threading.Thread(target=self._run, name="rapport-to-node", daemon=True)

    def start(self) -> None:
        """Begins, and says that the door is open."""
        self.is_started = True
        send(self._channel, READY)
        self._thread.start()

    def stop(self) -> None:
        """Returns when all is sent."""
        self._connections.put(None)
        self._thread.join()

    def hand(self, connection: socket.socket, begun: bytes) -> bool:
        """The node answers on this connection, of which `begun` was read. False when it does not come to those that
        wait already: it stands still, and what waits for it must leave room for deliveries.
        """
        if self._connections.qsize() >= MOST_WAITING:
            return False
        self._connections.put((os.dup(connection.fileno()), begun))
        return True

    def note(self, provider: str, outcome: str, count: int = 1) -> None:
        """As `infra.metrics.Deliveries`, which the node keeps."""
        with self._counting:
            self._figures[provider, outcome] += count

    def _run(self) -> None:
        try:
            self._send_all()
        except BaseException as error:  # noqa: BLE001 - without this thread nothing but deliveries would be answered
            log.error("the door ends", **fault_of(error))
            os._exit(1)  # and the node listens itself

    def _send_all(self) -> None:
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
        send(self._channel, WORD, (self.word() or "").encode())


class Sorting(H11Protocol):
    """One connection: a request that is no delivery takes it to the node, unless it came right behind one."""

    to_node: ToNode

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._begun = b""

    def data_received(self, data: bytes) -> None:
        """What was sent; the first bytes of a request are kept until it is clear whose it is."""
        self._unset_keepalive_if_required()
        if self.conn.their_state is not h11.IDLE or self.conn.trailing_data[0]:
            super().data_received(data)
            return
        begun, self._begun = self._begun + data, b""
        if begun.startswith(DELIVERY):
            super().data_received(begun)
        elif DELIVERY.startswith(begun):
            self._begun = begun
        elif self.to_node.hand(self.transport.get_extra_info("socket"), begun):
            self.transport.abort()  # closes ours, and sends nothing
        else:
            self.transport.write(BUSY % (len(NOT_TAKEN), NOT_TAKEN))
            self.transport.close()


class Server(uvicorn.Server):
    """Stopped by the node alone, which has signals of its own."""

    def __init__(self, asked_to_stop: threading.Event, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._asked_to_stop = asked_to_stop

    async def on_tick(self, counter: int) -> bool:
        """Whether to end, asked ten times a second."""
        return await super().on_tick(counter) or self._asked_to_stop.is_set()

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
    lent = LentKey()
    asked_to_stop = threading.Event()

    def watch() -> None:
        for frame in frames:
            if frame.kind == KEY:
                lent.lend(_key_in(frame))
            elif frame.kind == STOP:
                if not to_node.is_started:
                    os._exit(0)
                asked_to_stop.set()
        os._exit(1)  # the node is gone: nothing is to be taken in its name

    threading.Thread(target=watch, name="rapport-watching", daemon=True).start()
    over = tracing.start()
    try:
        with _reception(settings, json.loads(first.body)["url"], lent, to_node) as (connection, reception):
            to_node.word = lambda: CUT_OFF if not connection.is_connected else None if lent.is_good else KEYLESS
            serving = _serve(reception, to_node, listener, asked_to_stop)
            # On the connection's own loop: what goes to the server and comes back waits for no other thread.
            asyncio.run_coroutine_threadsafe(serving, connection.loop).result()
    finally:
        over()


def _key_in(frame: Frame) -> DayKey:
    name, key, *at = json.loads(frame.body)
    return DayKey(name, bytes.fromhex(key), *at)


@contextmanager
def _reception(
    settings: Settings, url: str | None, key: LentKey, to_node: ToNode
) -> Iterator[tuple[Connection, Reception]]:
    """At the embedded server's `url` with what a door may do there; at a cluster with the node's login."""
    if url is None:
        connection = Connection(settings.nats_access() or "", jetstream=False)
    else:
        connection = Connection(access(url), jetstream=False, api_prefix=DOOR_API)
    with connection:
        inlet = inlet_of_door(connection, key)
        with closing(Reception(connection, inlet, WebhookSecrets(settings.webhooks_file), to_node)) as reception:
            yield connection, reception


async def _serve(
    reception: Reception, to_node: ToNode, listener: socket.socket, asked_to_stop: threading.Event
) -> None:
    app = create_app(reception)
    protocol = type("Handing", (Sorting,), {"to_node": to_node})
    server = Server(
        asked_to_stop,
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
            proxy_headers=False,
        ),
    )
    app.state.connections = server.server_state.connections
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
    app.state.is_beside_a_door = lambda: False
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
