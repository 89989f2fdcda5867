"""Fixtures for what runs on a real nats-server; see `tests.servers`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from infra.jetstream import Connection, JetStreamApplicationRecorder, Stream
from infra.nats_server import EmbeddedServer
from tests.servers import fresh_stream, shared_connection, shared_server

# A property is about what holds, not about how busy the machine is.
settings.register_profile("rapport", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rapport")


@pytest.fixture(scope="session")
def nats_server() -> EmbeddedServer:
    return shared_server()


@pytest.fixture(scope="session")
def connection() -> Connection:
    return shared_connection()


@pytest.fixture
def stream(connection: Connection) -> Stream:
    return fresh_stream(connection)


@pytest.fixture
def recorder(connection: Connection, stream: Stream) -> JetStreamApplicationRecorder:
    return JetStreamApplicationRecorder(connection, stream)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server for one test alone, which it may stop, kill and start again."""
    server = EmbeddedServer(tmp_path / "own-nats")
    server.start()
    yield server
    server.stop()
