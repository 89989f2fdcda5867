"""Ledger and mirror side by side while no node runs: nothing is projected, declared or served."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import duckdb

from api.failures import NodeError
from api.node import prepare_folder
from infra.duckdb import DatabaseUnreadable, open_database
from infra.jetstream import Connection, Stream
from infra.jetstream.access import access
from infra.nats_server import EmbeddedServer
from infra.settings import Settings
from projections import MirrorOutdated, mirror

LEDGER = Stream("LEDGER", "ledger")


@dataclass(frozen=True)
class Evidence:
    """A connection to the ledger's server, the ledger (which may not be there), and a reading cursor of the mirror."""

    connection: Connection
    stream: Stream
    cursor: duckdb.DuckDBPyConnection


@contextmanager
def evidence(settings: Settings) -> Iterator[Evidence]:
    """Raises NodeError when there is no mirror to compare with, ServerStartError or DatabaseLocked when a node runs."""
    if not settings.database.exists():
        raise NodeError(f"{settings.database} is not there, so that there is nothing to compare the ledger with")
    prepare_folder(settings.data)
    with ExitStack() as stack:
        servers = settings.nats_access()
        if servers is None:
            server = stack.enter_context(EmbeddedServer(settings.data / "nats", port=settings.nats_port))
            servers = access(server.url)
        database = _mirror(settings)
        stack.callback(database.close)
        connection = stack.enter_context(Connection(servers))
        try:
            yield Evidence(connection, LEDGER, database)
        except RuntimeError as error:
            if str(error) == "Query interrupted":  # what DuckDB makes of a Ctrl-C
                raise KeyboardInterrupt from None
            raise


def _mirror(settings: Settings) -> duckdb.DuckDBPyConnection:
    try:
        with ExitStack() as opened:
            database = open_database(settings.database)
            opened.callback(database.close)
            mirror.prepare(database)
            opened.pop_all()
            return database
    except (DatabaseUnreadable, MirrorOutdated, duckdb.Error) as error:
        reason = str(error).strip().partition("\n")[0]
        raise NodeError(f"the mirror in {settings.database} cannot be read ({reason})") from error
