"""Keeps the mirror and every view equal to the ledger, batch by batch, each batch in one transaction."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from projections import mirror, scope, sql
from projections.rebuilding import bring_up_to_date
from projections.registry import VIEWS
from projections.transaction import transaction
from projections.view import View


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
                with self._batch(new):
                    self._mirror("insert", "advance")
                    scope.run(self.connection, "new", after=self._checkpoint)
                    self._refresh()
                self._advance(new["seq"][-1].as_py())
            return self._checkpoint

    def retry(self, table: pa.Table) -> None:
        """Put in again events that were broken and can be read now; what waited behind them counts from now on.

        Raises ValueError when the mirror does not hold one of them as broken.
        """
        with self.lock, self._batch(table):
            if sql.value(self.connection, sql.load("projections.mirror", "not_broken.sql")):
                raise ValueError("only events that are dead letters can be tried again")
            self._mirror("forget", "insert")
            scope.run(self.connection, "again")
            self._refresh()

    def wait_for(self, seq: int, timeout_s: float) -> bool:
        """Whether the checkpoint reached `seq` within the time."""
        with self._advanced:
            return self._advanced.wait_for(lambda: self._checkpoint >= seq, timeout_s)

    @contextmanager
    def _batch(self, table: pa.Table) -> Iterator[None]:
        """A transaction in which `batch` names the rows of `table`."""
        self.connection.register("batch", table)
        try:
            with transaction(self.connection):
                yield
        finally:
            self.connection.unregister("batch")

    def _mirror(self, *steps: str) -> None:
        for step in steps:
            self.connection.execute(sql.load("projections.mirror", step + ".sql"))

    def _refresh(self) -> None:
        """Compute anew what the rows of `scope_new` affect: their pools, their persons, everyone in those pools."""
        connection = self.connection
        views = self._affected()
        scope.run(connection, "touched")
        scope.run(connection, "records")
        scope.run(connection, "usable")
        scope.run(connection, "pools_changed")
        for view in views:
            if "canonical_id" not in view.keys:
                view.refresh(connection)
        scope.run(connection, "persons")
        scope.run(connection, "pools_all")
        for view in views:
            if "canonical_id" in view.keys:
                view.refresh(connection)
        scope.run(connection, "pools_changed")
        if sql.value(connection, "select pool_id from scope_pools limit 1"):
            scope.run(connection, "others")
            for view in views:
                if {"canonical_id", "pool_id"} <= set(view.keys):
                    view.refresh(connection)

    def _affected(self) -> tuple[View, ...]:
        """The views that the rows of `scope_new` can change. A person's first event may change any."""
        types, begins = self.connection.execute(sql.load("projections.scope", "moved.sql")).fetchall()[0]
        return tuple(view for view in VIEWS if begins or view.looks_at(frozenset(types or ())))

    def _advance(self, seq: int) -> None:
        with self._advanced:
            self._checkpoint = seq
            self._advanced.notify_all()


def _unseen(table: pa.Table, after: int) -> pa.Table:
    """The rows of `table` above `after`.

    Raises BatchOutOfOrder when what is left is not strictly ascending.
    """
    new = table.filter(pc.greater(table["seq"], after))
    least_step = pc.min(pc.pairwise_diff(new["seq"].combine_chunks())).as_py()
    if least_step is not None and least_step < 1:
        raise BatchOutOfOrder("a batch holds its events in ledger order, each once")
    return new


def _check_mirror_version(connection: duckdb.DuckDBPyConnection) -> None:
    wanted = (mirror.VERSION, mirror.shown_as())
    connection.execute("insert or ignore into ops.views values ('mirror', ?, ?, now(), 0)", wanted)
    found = connection.execute("select version, definition from ops.views where name = 'mirror'").fetchone()
    if found != wanted:
        raise MirrorOutdated("the file's mirror is of another version; move the file away and it is filled anew")
