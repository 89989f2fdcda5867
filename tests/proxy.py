"""A TCP proxy to a NATS server that loses answers, hangs up at a chosen frame, and delays.

It passes whole protocol frames, so what is lost is a message and never half of one.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

_WITH_PAYLOAD = (b"MSG ", b"HMSG ", b"PUB ", b"HPUB ")
Test = Callable[[bytes], bool]
"""Looks at one frame. Tests run one at a time, so they may count."""


def never(_: bytes) -> bool:
    """No frame."""
    return False


def once(test: Test) -> Test:
    """The first frame that passes `test`, and no other."""
    return nth(1, test)


def nth(number: int, test: Test) -> Test:
    """The `number`th frame that passes `test`, and no other."""
    left = [number]

    def check(frame: bytes) -> bool:
        if not test(frame):
            return False
        left[0] -= 1
        return left[0] == 0

    return check


def is_ack(frame: bytes) -> bool:
    """The server says that it stored a message."""
    return b'"seq":' in frame and b'"stream":' in frame


def is_refusal(frame: bytes) -> bool:
    """The server says that another sequence is the last one of the subject."""
    return b'"err_code":10071' in frame


class Proxy:
    """Listens on `port`, for any number of connections; the server behind it may go and come back."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.swallow: Test = never
        """Frames of the server that never reach the client."""
        self.swallowed = threading.Event()
        self.last_answer: Test = never
        """Frames of the server that reach the client, whose connection then breaks."""
        self.unheard: Test = never
        """Frames of the client that never reach the server: the connection breaks instead."""
        self.late: Test = never
        """Frames of the server that come `late_s` too late, and with them all behind them on their connection."""
        self.late_s = 0.0
        self.delay_s = 0.0
        """How long each piece of what the server says is on its way."""
        self._judging = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def calm(self) -> None:
        """Passes everything from now on."""
        self.swallow = self.last_answer = self.unheard = self.late = never
        self.delay_s = 0.0

    def hang_up(self) -> None:
        """Breaks every connection; clients may come back."""
        for pair in tuple(self._pairs):
            _shut(*pair)

    def close(self) -> None:
        """Breaks every connection and takes no more."""
        _shut(self._listener)
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._upstream))
                except OSError:  # the server is away
                    client.close()
                    continue
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pairs.add((client, server))
                threading.Thread(target=self._pump, args=(client, server, self._from_client), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, self._from_server), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, judge: Callable[[bytes], tuple[bool, bool]]) -> None:
        rest = b""
        broken = False
        with suppress(OSError):
            while not broken and (chunk := source.recv(65536)):
                if judge == self._from_server and self.delay_s:
                    time.sleep(self.delay_s)
                frames, rest = _split(rest + chunk)
                passed = []
                for frame in frames:
                    with self._judging:
                        passes, broken = judge(frame)
                        late = passes and judge == self._from_server and self.late(frame)
                    if late:
                        target.sendall(b"".join(passed))
                        passed = []
                        time.sleep(self.late_s)
                    passed += [frame] if passes else []
                    if broken:
                        break
                target.sendall(b"".join(passed))
        _shut(source, target)
        self._pairs.discard((source, target))
        self._pairs.discard((target, source))

    def _from_client(self, frame: bytes) -> tuple[bool, bool]:
        """Whether the frame passes, and whether the connection breaks at it."""
        unheard = self.unheard(frame)
        return not unheard, unheard

    def _from_server(self, frame: bytes) -> tuple[bool, bool]:
        if self.swallow(frame):
            self.swallowed.set()
            return False, False
        return True, self.last_answer(frame)


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole frames in `data`, and what is left behind them."""
    frames = []
    start = 0
    while (end := data.find(b"\r\n", start) + 2) >= 2:
        if data.startswith(_WITH_PAYLOAD, start):
            end += int(data[start : end - 2].rpartition(b" ")[2]) + 2
        if len(data) < end:
            break
        frames.append(data[start:end])
        start = end
    return frames, data[start:]


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
