"""One real nats-server a test process, and a stream of its own for every test.

Functions, for cases that take no fixtures. Not in conftest.py, which pytest may import under a second name: there
would be a second server.
"""

from __future__ import annotations

import atexit
import itertools
import tempfile
from functools import cache
from pathlib import Path

from infra.jetstream import Connection, JetStreamApplicationRecorder, Stream, declare_stream
from infra.nats_server import EmbeddedServer

_numbers = itertools.count(1)


@cache
def shared_server() -> EmbeddedServer:
    """The nats-server of this test process (durable as in production), started on first use, gone at its end."""
    folder = tempfile.TemporaryDirectory(prefix="rapport-nats-")
    server = EmbeddedServer(Path(folder.name))
    server.start()
    atexit.register(folder.cleanup)
    atexit.register(server.stop)
    return server


@cache
def shared_connection() -> Connection:
    """One connection to the shared server, for tests that do not break it."""
    connection = Connection(shared_server().url)
    atexit.register(connection.close)
    return connection


def fresh_name(stem: str = "T") -> str:
    """A name that no other test in this process has."""
    return f"{stem}{next(_numbers)}"


def fresh_stream(connection: Connection | None = None) -> Stream:
    """An empty ledger stream that no other test touches."""
    return declare_stream(connection or shared_connection(), fresh_name())


def fresh_recorder() -> JetStreamApplicationRecorder:
    """An application recorder on an empty ledger."""
    return JetStreamApplicationRecorder(shared_connection(), fresh_stream())
