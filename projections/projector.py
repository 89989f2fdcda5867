"""Keeps the mirror and every view equal to the ledger, batch by batch, each batch in one transaction."""

import threading

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from projections import mirror, scope, sql
from projections.rebuilding import bring_up_to_date
from projections.registry import VIEWS
from projections.transaction import transaction


class MirrorOutdated(Exception):
    """The file was written by a version of Rapport whose mirror had other tables."""


class BatchOutOfOrder(ValueError):
    """The rows of a batch are not in ledger order."""


class Projector:
    """The one writer of a DuckDB file. `apply` may be called from any thread; one batch runs at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Create what is missing in the file, and rebuild the views whose definition has changed.

        Raises MirrorOutdated.
        """
        self.connection = connection
        self.lock = threading.RLock()
        self._readers = connection.cursor()
        self._readers_lock = threading.Lock()
        self._advanced = threading.Condition()
        with transaction(connection):
            connection.execute(sql.load("projections.mirror", "schema.sql"))
            connection.execute(sql.load("projections.scope", "views.sql"))
            _check_mirror_version(connection)
        bring_up_to_date(connection.cursor())
        scope.begin(connection)
        self._checkpoint: int = sql.value(connection, "select seq from ops.checkpoint")

    @property
    def checkpoint(self) -> int:
        """The ledger position up to which everything is applied and committed."""
        return self._checkpoint

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one reading thread or task; it sees whole batches only and blocks nobody."""
        with self._readers_lock:
            return self._readers.cursor()

    def apply(self, table: pa.Table) -> int:
        """Apply a batch whole, or not at all; the new checkpoint. Rows applied before are passed over.

        Raises BatchOutOfOrder.
        """
        with self.lock:
            new = _unseen(table, self._checkpoint)
            if new.num_rows:
                self.connection.register("batch", new)
                try:
                    with transaction(self.connection):
                        self._mirror_and_refresh(self._checkpoint)
                finally:
                    self.connection.unregister("batch")
                self._advance(new["seq"][-1].as_py())
            return self._checkpoint

    def wait_for(self, seq: int, timeout_s: float) -> bool:
        """Whether the checkpoint reached `seq` within the time."""
        with self._advanced:
            return self._advanced.wait_for(lambda: self._checkpoint >= seq, timeout_s)

    def _mirror_and_refresh(self, after: int) -> None:
        connection = self.connection
        connection.execute(sql.load("projections.mirror", "insert.sql"))
        scope.run(connection, "touched", after=after)
        scope.run(connection, "records")
        scope.run(connection, "pools_changed", after=after)
        for view in VIEWS:
            if "candidate_id" in view.keys or view.keys == ("pool_id",):
                view.refresh(connection)
        scope.run(connection, "persons")
        scope.run(connection, "pools_all")
        for view in VIEWS:
            if "canonical_id" in view.keys:
                view.refresh(connection)
        scope.run(connection, "pools_changed", after=after)
        if sql.value(connection, "select pool_id from scope_pools limit 1"):
            scope.run(connection, "others")
            for view in VIEWS:
                if {"canonical_id", "pool_id"} <= set(view.keys):
                    view.refresh(connection)

    def _advance(self, seq: int) -> None:
        with self._advanced:
            self._checkpoint = seq
            self._advanced.notify_all()


def _unseen(table: pa.Table, after: int) -> pa.Table:
    """The rows of `table` above `after`.

    Raises BatchOutOfOrder when what is left is not strictly ascending.
    """
    new = table.filter(pc.greater(table["seq"], after))
    steps = pc.pairwise_diff(new["seq"].combine_chunks())
    if (pc.min(steps).as_py() or 1) < 1:
        raise BatchOutOfOrder("a batch holds its events in ledger order, each once")
    return new


def _check_mirror_version(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "insert or ignore into ops.views values ('mirror', ?, '', now(), 0)",
        [mirror.VERSION],
    )
    found = sql.value(connection, "select version from ops.views where name = 'mirror'")
    if found != mirror.VERSION:
        raise MirrorOutdated("the file's mirror is of another version; move the file away and it is filled anew")
