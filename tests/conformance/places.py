"""Where the library's cases run: on one server, and on three replicas."""

from __future__ import annotations

import atexit
from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from unittest import TestCase, mock

from eventsourcing.persistence import InfrastructureFactory

from infra import duckdb, jetstream
from infra.jetstream import Connection, Stream, declare_stream
from tests.cluster import shared_cluster
from tests.servers import fresh_name, shared_connection, shared_server


class Place:
    """What cases ask for, wherever they run."""

    replicas: int

    @abstractmethod
    def urls(self) -> list[str]: ...

    @abstractmethod
    def connection(self) -> Connection: ...

    def fresh_stream(self) -> Stream:
        return declare_stream(self.connection(), fresh_name(), replicas=self.replicas)

    def environment(self) -> dict[str, str]:
        """What makes the library store events in a new ledger here."""
        return {
            "PERSISTENCE_MODULE": "infra.jetstream",
            "NATS_URL": ",".join(self.urls()),
            "NATS_STREAM": fresh_name(),
            "NATS_REPLICAS": str(self.replicas),
        }


class OneServer(Place):
    """A nats-server of this test process, durable as in production."""

    replicas = 1

    def urls(self) -> list[str]:
        return [shared_server().url]

    def connection(self) -> Connection:
        return shared_connection()


class ThreeReplicas(Place):
    """Three nats-servers of this test process, all of which hold every stream."""

    replicas = 3

    def urls(self) -> list[str]:
        return shared_cluster().urls

    def connection(self) -> Connection:
        return _cluster_connection()


@cache
def _cluster_connection() -> Connection:
    connection = Connection(shared_cluster().urls)
    atexit.register(connection.close)
    return connection


def close_factories_after(case: TestCase) -> None:
    """Closes what factories opened during the case: most of the library's cases leave it open."""
    for factory in (jetstream.Factory, duckdb.Factory):
        case.enterContext(mock.patch.object(factory, "__init__", _closed_after(case, factory.__init__)))


def _closed_after(case: TestCase, construct: Callable[..., None]) -> Callable[..., None]:
    def construct_and_remember(factory: InfrastructureFactory, *args: object, **kwargs: object) -> None:
        construct(factory, *args, **kwargs)
        case.addCleanup(factory.close)

    return construct_and_remember
