"""The door: a process beside the node's that takes providers' deliveries, and hands every other connection on.

In the node's own process a delivery would wait its turn among imports, exports and all that keeps the views, for Python
runs one thread at a time; a provider is to have its answer within milliseconds, whatever the node is at. The door is
forked before the node has begun anything, so it opens no file of the node's and starts without loading a module. It
accepts every connection. One that begins with a delivery stays; any other goes to the node as it is, with what was
read of it, and so does one that stayed and then asks for something else.

When the node dies, the door does. When the door dies, the node listens itself, and takes deliveries as well.
"""

import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog
from eventsourcing.persistence import OperationalError

from api.handing import CONNECTION, FIGURES, KEY, READY, SETTINGS, STOP, WORD, Frame, received, send
from infra.ingest_seals import DayKey
from infra.logging import fault_of

GONE = "deliveries are taken by the node's own process, and answered late while it is busy: its door has ended"
SILENT = "the door, which takes deliveries, has not been heard of for some seconds"
SILENT_S = 5.0
START_S = 30.0
STOP_S = 7.0
HEARS_WITHIN_S = 5

Stand = Callable[[socket.socket, socket.socket], None]
"""Serves who comes to the first, until the node at the other end of the second stops it."""
OnConnection = Callable[[socket.socket, bytes], object]
OnFigures = Callable[[str, str, int], object]

log = structlog.get_logger()


class Door:
    """The node's side of it: starts as soon as it is made, and takes deliveries from `begin` on."""

    def __init__(self, listener: socket.socket, stand: Stand) -> None:
        """Forks, so the process may have no other thread yet; `stand` is what the door's process does."""
        self._channel, theirs = socket.socketpair()
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", HEARS_WITHIN_S, 0))
        self._sending = threading.Lock()
        self._stopping = False
        self._ready = threading.Event()
        self._over = threading.Event()
        self._pid = os.fork()
        if not self._pid:
            self._channel.close()
            _stand(stand, listener, theirs)
        theirs.close()
        self._handing = threading.Lock()
        self._early: list[tuple[socket.socket, bytes]] = []
        self._on_connection: OnConnection = self._keep
        self._on_figures: OnFigures = lambda *_: None
        self._on_end: Callable[[], object] | None = None
        self._word: str | None = None
        self._heard_s = time.monotonic()
        self._reading = threading.Thread(target=self._read, name="rapport-door", daemon=True)

    @property
    def failure(self) -> str | None:
        """Why it does not take deliveries as it should though nobody stopped it; None when it does."""
        if self._stopping:
            return None
        if self._over.is_set():
            return GONE
        return self._word or (SILENT if time.monotonic() - self._heard_s > SILENT_S else None)

    @property
    def is_open(self) -> bool:
        """Whether it runs."""
        return not self._over.is_set()

    def begin(self, url: str | None, key: DayKey | None, on_figures: OnFigures) -> None:
        """Lets it in: `url` is the embedded server's for a door, if there is one; it seals deliveries under `key`, and
        takes none while it has none. `on_figures` is told what came of deliveries, by provider, outcome and count. One
        that does not come up is as one that has ended: the node goes on without.
        """
        self._on_figures = on_figures
        self._reading.start()
        self._tell(SETTINGS, json.dumps({"url": url}).encode())
        if key is not None:
            self.lend(key)
        if not self._ready.wait(START_S):
            log.error("the door does not come up", within_s=START_S)
            self.kill()

    def lend(self, key: DayKey) -> None:
        """It seals under this one from now on. To be said every few hours at least; see `LentKey`."""
        self._tell(KEY, json.dumps([key.name, key.key.hex(), key.monotonic_s, key.wall_s]).encode())

    def serve(self, on_connection: OnConnection, on_end: Callable[[], object]) -> None:
        """From now on connections go there, with what was read of them; `on_end` is called once, if it ends or has
        ended by itself. Both on a thread of its own.
        """
        with self._handing:
            self._on_connection = on_connection
            for connection, begun in self._early:
                on_connection(connection, begun)
            self._early.clear()
            if self.is_open or self._stopping:
                self._on_end = on_end
                return
        on_end()

    def stop(self) -> None:
        """Lets it finish what it has taken. Safe to call twice, and without `begin`."""
        self._stopping = True
        self._tell(STOP)
        if self._reading.ident is not None:
            self._reading.join(STOP_S)
        if self.is_open:
            self.kill()
            self._reap()

    def kill(self) -> None:
        """Ends it as it is."""
        if self.is_open:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _tell(self, kind: bytes, body: bytes = b"") -> None:
        """Says it, if there is still somebody to hear it. A door that reads nothing for long is ended: it is held up,
        and whoever went on later with what it was told before would go by what holds no more."""
        with self._sending:
            try:
                send(self._channel, kind, body)
            except BlockingIOError:
                log.error("the door takes nothing in, and is ended", within_s=HEARS_WITHIN_S)
                self.kill()
            except OSError:  # it is gone
                pass

    def _read(self) -> None:
        try:
            for frame in received(self._channel):
                self._heard_s = time.monotonic()
                try:
                    self._take(frame)
                except Exception as error:  # noqa: BLE001 - the next is another matter
                    log.error("what the door said was not taken", **fault_of(error))
        finally:
            self._reap()
        with self._handing:
            on_end, self._on_end = self._on_end, None
        if not self._stopping:
            log.error("the door has ended", reason=GONE)
            if on_end is not None:
                on_end()

    def _take(self, frame: Frame) -> None:
        if frame.kind == CONNECTION:
            if frame.descriptor is None:
                log.warning("a connection is lost: the node has as many files open as it may")
                return
            connection = socket.socket(fileno=frame.descriptor)
            with self._handing:
                self._on_connection(connection, frame.body)
        elif frame.kind == FIGURES:
            for provider, outcome, count in json.loads(frame.body):
                self._on_figures(provider, outcome, count)
        elif frame.kind == WORD:
            self._word = frame.body.decode() or None
        elif frame.kind == READY:
            self._ready.set()

    def _keep(self, connection: socket.socket, begun: bytes) -> None:
        self._early.append((connection, begun))

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._over.set()
        self._ready.set()
        self._channel.close()


def _stand(stand: Stand, listener: socket.socket, channel: socket.socket) -> None:
    """The door's own process, from fork to end; never returns."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # which come to all processes of a terminal or a service
            signal.signal(number, signal.SIG_IGN)  # the node stops its door
        stand(listener, channel)
        code = 0
    except BaseException as error:  # noqa: BLE001 - a copy of the node's process must not go on as the node
        reason = str(error) if isinstance(error, OperationalError) else None
        log.error("the door ends", reason=reason, **fault_of(error))
    finally:
        os._exit(code)
