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
import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from api.failures import NodeError
from api.handing import CONNECTION, FIGURES, READY, SETTINGS, STOP, received, send

GONE = "deliveries are taken by the node's own process, and answered late while it is busy: its door has ended"
STOP_S = 15.0

Stand = Callable[[socket.socket, socket.socket], None]
"""Serves who comes to the first, until the node at the other end of the second stops it."""

log = structlog.get_logger()


class Door:
    """The node's side of it: starts as soon as it is made, and takes deliveries from `begin` on."""

    def __init__(self, listener: socket.socket, stand: Stand) -> None:
        """Forks, so the process may have no other thread yet; `stand` is what the door's process does."""
        self._channel, theirs = socket.socketpair()
        self._stopping = False
        self._ready = threading.Event()
        self._over = threading.Event()
        self._pid = os.fork()
        if not self._pid:
            self._channel.close()
            _stand(stand, listener, theirs)
        theirs.close()
        self._early: list[tuple[socket.socket, bytes]] = []
        self._on_connection: Callable[[socket.socket, bytes], object] = self._keep
        self._handing = threading.Lock()
        self._on_figures: Callable[[str, str, int], object] = lambda *_: None
        self._on_end: Callable[[], object] = lambda: None
        self._reading = threading.Thread(target=self._read, name="rapport-door", daemon=True)

    @property
    def failure(self) -> str | None:
        """Why it takes nothing though nobody stopped it; None when that is not so."""
        return GONE if self._over.is_set() and not self._stopping else None

    def begin(self, url: str | None, master_key_id: str | None, on_figures: Callable[[str, str, int], object]) -> None:
        """Lets it in: `url` is the embedded server's, if there is one. `on_figures` is told what came of deliveries,
        by provider, outcome and count. Raises NodeError when it does not come up.
        """
        self._on_figures = on_figures
        self._reading.start()
        with suppress(OSError):
            send(self._channel, SETTINGS, json.dumps({"url": url, "master_key_id": master_key_id}).encode())
        self._ready.wait()
        if self._over.is_set():
            raise NodeError("the process that takes webhooks has ended at its start; the log has the reason")

    def serve(self, on_connection: Callable[[socket.socket, bytes], object], on_end: Callable[[], object]) -> None:
        """From now on connections go there, with what was read of them; `on_end` is called if it ends by itself. Both
        on a thread of its own.
        """
        with self._handing:
            self._on_connection, self._on_end = on_connection, on_end
            for connection, begun in self._early:
                on_connection(connection, begun)
            self._early.clear()
        if self.failure is not None:
            on_end()

    def stop(self) -> None:
        """Lets it finish what it has taken. Safe to call twice, and without `begin`."""
        self._stopping = True
        with suppress(OSError):
            send(self._channel, STOP)
        if self._reading.ident is not None:
            self._reading.join(STOP_S)
        if not self._over.is_set():
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._reap()

    def _read(self) -> None:
        for frame in received(self._channel):
            if frame.kind == CONNECTION and frame.descriptor is not None:
                with self._handing:
                    self._on_connection(socket.socket(fileno=frame.descriptor), frame.body)
            elif frame.kind == FIGURES:
                for provider, outcome, count in json.loads(frame.body):
                    self._on_figures(provider, outcome, count)
            elif frame.kind == READY:
                self._ready.set()
        self._reap()
        if not self._stopping:
            log.error("the door has ended", reason=GONE)
            self._on_end()

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
        log.error("the door ends", error=type(error).__name__)
    finally:
        os._exit(code)
