"""A subscriber's address: a real HTTP server that answers as a test says, and keeps what it was sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

import orjson

Answer = int | tuple[int, float] | tuple[int, Event] | tuple[int, dict[str, str]]
"""A status, with seconds or an event to wait for before it, or headers. With `Transfer-Encoding: chunked` it has
a body that does not end."""


class Posted(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    answered: int

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent in it."""
        found: dict[str, Any] = orjson.loads(self.body)
        return found


class Receiver:
    """`answers` are given in turn, the last one for good; by path, if a path has its own."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.answer: dict[str, Callable[[int], Answer]] = {}
        self.port = 0
        self.lock = Lock()

    def answers(self, path: str, *answers: Answer) -> str:
        """What a path answers, one after the other and the last one for good; its address."""
        self.answer[path] = lambda n: answers[min(n, len(answers) - 1)]
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Posted]:
        """What was posted there, in order."""
        with self.lock:
            return [posted for posted in self.posted if posted.path == path]

    def taken(self, path: str) -> list[str]:
        """The ids of what was taken there."""
        return [posted.headers["webhook-id"] for posted in self.at(path) if 200 <= posted.answered < 300]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """It listens on a port of loopback until the block ends."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = found.answer[self.path](len(found.at(self.path)))
            status, more = answer if isinstance(answer, tuple) else (answer, 0.0)
            headers = {key.lower(): value for key, value in self.headers.items()}
            with found.lock:
                found.posted.append(Posted(self.path, headers, body, status))
            if isinstance(more, float):
                time.sleep(more)
            elif isinstance(more, Event):
                more.wait(60)
            try:
                self.send_response(status)
                for name, value in (more if isinstance(more, dict) else {}).items():
                    self.send_header(name, value)
                if isinstance(more, dict) and "Transfer-Encoding" in more:
                    self.end_headers()
                    self.wfile.write(b"3\r\nfor\r\n")
                    time.sleep(30)
                    self.close_connection = True
                    return
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 100

    server = Server(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
