"""Blocking connections beside the shared one: a thread sends, waits and reads by itself, without a loop between.

Handing a request to the loop and its reply back costs more than the server's own work on it: one durable append takes
0.3 ms on a bare socket and 0.6 ms through the loop. A lane is for the common case alone. Whatever goes wrong on it is
reported, and left to the shared connection, which reconnects and reads back.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import nats.errors
import orjson
from eventsourcing.persistence import OperationalError

from infra.jetstream.replies import NO_RESPONDERS, ConnectionLost
from infra.jetstream.wire import Door, WireClient

MOST_IDLE = 4
OPEN_S = 2.0
IDLE_S = 30.0  # the server pings an idle client every 2 minutes and drops it after two pings
READ_BYTES = 1 << 20
STATUS = b"NATS/1.0 "  # how a header block without fields begins: the end of a page, or an error
_FRAME = re.compile(
    rb"(?:HMSG [^ \r]+\.([0-9a-f]+) \d+ (?:[^ \r]+ )??(\d+) (\d+)"
    rb"|MSG [^ \r]+\.([0-9a-f]+) \d+ (?:[^ \r]+ )??(\d+)"
    rb"|(PING)|(-ERR [^\r]*)|(?:INFO|PONG|\+OK)[^\r]*)\r\n"
)
_WITH_HEADER, _WITHOUT_HEADER, _PING, _REFUSAL = 3, 5, 6, 7  # the last group of each kind of frame

T = TypeVar("T")
Take = Callable[[bytes, int, int, int], T]


class Request(NamedTuple):
    """Something to publish; `header` is a whole block or empty."""

    subject: str
    header: bytes
    body: bytes
    answered: bool = True


class Lane:
    """One socket, used by one thread at a time. Every method raises ConnectionLost once it is of no use any more."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self._asked = 0
        self._timeout_s = OPEN_S
        self._buffer = b""
        self._at = 0
        self.used_at = time.monotonic()
        try:
            self._socket = self._enter(door)
        except (OSError, ValueError) as error:
            raise ConnectionLost(f"no second connection to NATS ({error})") from error

    def exchange(self, requests: Sequence[Request], timeout_s: float) -> list[bytes]:
        """Sends all requests at once; the bodies of the replies to those that have one, in their order."""
        before = self._asked
        deadline = self._deadline(timeout_s)
        self._send(requests)
        bodies: dict[int, bytes] = {}
        while len(bodies) < self._asked - before:
            number, header, body, end = self._next(deadline)
            if number > before:
                if self._buffer.startswith(NO_RESPONDERS, header, body):
                    raise ConnectionLost("nobody answers this request")
                bodies[number] = self._buffer[body:end]
        return [bodies[number] for number in sorted(bodies)]

    def ask(self, request: Request) -> int:
        """Sends a request with many replies; its number, for `collect`."""
        self._send([request])
        return self._asked

    def collect(
        self, number: int, timeout_s: float, take: Callable[[bytes, int, int, int], T]
    ) -> tuple[list[T], bytes]:
        """What `take` makes of the replies to `ask`, up to the one that ends them, and what that one says.

        `take` gets a buffer and in it where the reply's header, body and end are. Replies to what was asked before
        are dropped.
        """
        deadline = self._deadline(timeout_s)
        taken: list[T] = []
        while True:
            asked, header, body, end = self._next(deadline)
            if asked != number:
                continue
            if header == body or self._buffer.startswith(STATUS, header):
                return taken, self._buffer[header:end]
            taken.append(take(self._buffer, header, body, end))

    def close(self) -> None:
        """Closes the socket. Safe to call twice."""
        self._socket.close()

    def _deadline(self, timeout_s: float) -> float:
        # The socket waits as long at most for each piece, so that it need not be told before each (a system call).
        if timeout_s != self._timeout_s:
            self._socket.settimeout(timeout_s)
            self._timeout_s = timeout_s
        return time.monotonic() + timeout_s

    def _send(self, requests: Sequence[Request]) -> None:
        parts: list[bytes] = []
        for subject, header, body, answered in requests:
            to = subject
            if answered:
                self._asked += 1
                to = f"{subject} {self._inbox}.{self._asked:x}"
            size = len(header) + len(body)
            verb = f"HPUB {to} {len(header)} {size}\r\n" if header else f"PUB {to} {size}\r\n"
            parts += (verb.encode(), header, body, b"\r\n")
        try:
            self._socket.sendall(b"".join(parts))
        except OSError as error:
            raise ConnectionLost(f"the connection to NATS broke ({error})") from error
        self.used_at = time.monotonic()

    def _next(self, deadline: float) -> tuple[int, int, int, int]:
        """The next reply: what it answers, and where in the buffer its header, body and end are."""
        while True:
            buffer = self._buffer
            frame = _FRAME.match(buffer, self._at)
            if frame is None:
                if buffer.find(b"\r\n", self._at) >= 0:
                    raise ConnectionLost("NATS sent what is not its protocol")
                self._fill(deadline, 1)
                continue
            kind, start = frame.lastindex, frame.end()
            if kind == _WITH_HEADER:
                token, header_size, size = frame.group(1, 2, 3)
            elif kind == _WITHOUT_HEADER:
                (token, size), header_size = frame.group(4, 5), 0
            else:
                self._at = start
                self._heed(kind, frame)
                continue
            end = start + int(size)
            if len(buffer) < end + 2:
                self._fill(deadline, end + 2 - len(buffer))
                continue
            self._at = end + 2
            return int(token, 16), start, start + int(header_size), end

    def _heed(self, kind: int | None, frame: re.Match[bytes]) -> None:
        if kind == _REFUSAL:
            raise ConnectionLost(f"NATS refuses: {frame[_REFUSAL].decode(errors='replace')[5:]}")
        if kind == _PING:
            try:
                self._socket.sendall(b"PONG\r\n")
            except OSError as error:
                raise ConnectionLost(f"the connection to NATS broke ({error})") from error

    def _fill(self, deadline: float, missing: int) -> None:
        parts = [self._buffer[self._at :]]
        self._at = 0
        while missing > 0:
            try:
                part = self._socket.recv(READ_BYTES)
            except TimeoutError as error:
                if time.monotonic() < deadline:
                    continue
                raise ConnectionLost("the connection to NATS did not answer in time") from error
            except OSError as error:
                raise ConnectionLost(f"the connection to NATS broke ({error})") from error
            if not part:
                raise ConnectionLost("NATS closed the connection")
            parts.append(part)
            missing -= len(part)
        self._buffer = b"".join(parts)

    def _enter(self, door: Door) -> socket.socket:
        plain = socket.create_connection(door.address, OPEN_S)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if door.tls is not None and door.tls_first:
                plain = door.tls.wrap_socket(plain, server_hostname=door.tls_name)
            greeting = b""
            while not greeting.endswith(b"\r\n"):
                part = plain.recv(1)  # not a byte further: what follows may be TLS
                if not part:
                    raise OSError("closed at once")
                greeting += part
            if door.tls is not None and not door.tls_first:
                plain = door.tls.wrap_socket(plain, server_hostname=door.tls_name)
            self._socket = plain
            info = orjson.loads(greeting.removeprefix(b"INFO "))
            if door.server_id not in ("", info.get("server_id")):
                raise OSError("another server has taken its place")  # the client does not know that yet
            plain.sendall(door.connect(info) + f"SUB {self._inbox}.* 1\r\nPING\r\n".encode())
            deadline = time.monotonic() + OPEN_S
            while b"PONG\r\n" not in self._buffer:
                if b"-ERR" in self._buffer:
                    raise OSError("login refused")
                self._fill(deadline, 1)
            self._at = self._buffer.index(b"PONG\r\n") + 6
        except BaseException:
            plain.close()
            raise
        return plain


def require_process(process: int) -> None:
    """Raises OperationalError in a process forked from `process`."""
    if os.getpid() != process:
        raise OperationalError("a NATS connection is of no use after a fork: connect in the new process")


class Lanes:
    """The lanes of a connection, opened when wanted. Safe for use by many threads."""

    def __init__(self, client: WireClient) -> None:
        self._client = client
        self._process = os.getpid()
        self._idle: list[Lane] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextlib.contextmanager
    def lane(self) -> Iterator[Lane]:
        """A lane for one thread until the block ends. Raises ConnectionLost when there can be none just now."""
        lane = self.take()
        try:
            yield lane
        except BaseException:
            lane.close()
            raise
        self.give_back(lane)

    def close(self) -> None:
        """Closes the idle ones; those in use close when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for lane in idle:
            lane.close()

    def take(self) -> Lane:
        """A lane to be given back, or closed when it failed.

        Raises ConnectionLost when there can be none just now, OperationalError in a process forked from this one: a
        lane's answers would go to whichever of the two reads first.
        """
        require_process(self._process)
        while True:
            with self._lock:
                lane = self._idle.pop() if self._idle else None
            if lane is None:
                break
            if self._client.is_at(lane.door) and time.monotonic() - lane.used_at < IDLE_S:
                return lane
            lane.close()
        try:
            return Lane(self._client.door())
        except nats.errors.Error as error:
            raise ConnectionLost("not connected to NATS") from error

    def give_back(self, lane: Lane) -> None:
        """Takes a lane that works; replies that may still come on it are dropped by whoever uses it next."""
        with self._lock:
            keep = not self._closed and len(self._idle) < MOST_IDLE
            if keep:
                self._idle.append(lane)
        if not keep:
            lane.close()
