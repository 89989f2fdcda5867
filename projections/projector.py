"""Keeps the mirror and every view equal to the ledger, batch by batch, each batch in one transaction."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakSet

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from domain.candidate import Erased
from projections import mirror, scope, sql
from projections.computing import Progress, nobody
from projections.installing import give_up, install
from projections.known import Known
from projections.rebuilding import build, discard
from projections.registry import VIEWS
from projections.transaction import transaction
from projections.upkeep import Upkeep
from projections.view import View, ViewRefused

OnBatch = Callable[[int, float], None]
"""Told the events that were new in a batch, and the seconds until they were committed."""

DRAIN_LOOK_S, CLOSE_TRIES = 0.02, 50
SETTLE_WHOLE_ABOVE = 0.2
"""When more than this share of the events is new to the views, building them anew is quicker than keeping them up."""


class BatchOutOfOrder(ValueError):
    """The rows of a batch are not in ledger order."""


class Projector:
    """The one writer of a DuckDB file. `apply` may be called from any thread; one batch runs at a time.

    `views` are those that are kept, `refused` says why a definition is not among them.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        views: Sequence[View] = VIEWS,
        on_progress: Progress = nobody,
        on_batch: OnBatch = nobody,
        refused: Sequence[ViewRefused] = (),
    ) -> None:
        """Create what is missing in the file, and build anew the views whose definition has changed.

        A definition that fails is refused, as are those in `refused`: the one before goes on. `on_progress` is told
        of builds, here and when views are brought up to the mirror; `on_batch` of each batch that brought something
        new. Raises MirrorOutdated, and ViewRefused for a view that everything rests on.
        """
        self.connection = connection
        self.lock = threading.RLock()
        self.build_lock = threading.RLock()  # whoever takes both takes this one first
        self._on_progress = on_progress
        self._on_batch = on_batch
        self._readers = connection.cursor()
        self._readers_lock = threading.Lock()
        self._lent: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()
        self._closing = False
        self._advanced = threading.Condition()
        self.views: tuple[View, ...] = ()
        self.refused: tuple[ViewRefused, ...] = ()
        mirror.prepare(connection)
        self._mirrored: int = sql.value(connection, "select seq from ops.checkpoint")
        self._checkpoint: int = sql.value(connection, "select views_seq from ops.checkpoint")
        install(self, views, on_progress, refused)
        self._upkeep = self._kept_up()
        self.settle()
        self.known = Known(self.cursor, lambda: self.views)

    def drain(self, within_s: float) -> bool:
        """Hand out no more cursors, for good if all that others have are given back within the time; whether they are.

        Closing the file takes away cursors that are still out.
        """
        self._closing = True  # before what is being computed is ended: what came in between would hold a cursor
        self.known.close()
        until = time.monotonic() + within_s
        while self._is_lending():
            if time.monotonic() > until:
                self._closing = False
                return False
            time.sleep(DRAIN_LOOK_S)
        return True

    def _is_lending(self) -> bool:
        """Whether a cursor is out. One that was closed is not, however long somebody holds on to what is left of it."""
        with self._readers_lock:
            return any(map(_is_open, self._lent))

    def close(self) -> None:
        """Give up the file, and with it the cursors that others hold."""
        self.known.close()
        with self.lock, self._readers_lock:
            for _ in range(CLOSE_TRIES):
                try:
                    self._readers.close()
                    break
                except duckdb.ResourceInUseException:  # a cursor is being made of it, or given back
                    time.sleep(DRAIN_LOOK_S)
            self.connection.close()

    @property
    def mirrored(self) -> int:
        """The ledger position up to which the mirror holds everything."""
        return self._mirrored

    @property
    def checkpoint(self) -> int:
        """The ledger position up to which everything is in the views, committed."""
        return self._checkpoint

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one reading thread or task; it sees whole batches only and blocks nobody.

        Raises ConnectionException, as a closed one does, while the file is about to be closed.
        """
        with self._readers_lock:
            if self._closing:
                raise duckdb.ConnectionException("the views' file is about to be closed")
            cursor = self._readers.cursor()
            self._lent.add(cursor)
            return cursor

    def apply(self, table: pa.Table) -> int:
        """Apply a batch whole, or not at all; the new checkpoint. Rows applied before are passed over.

        Raises BatchOutOfOrder.
        """
        started = time.perf_counter()
        with self._settled():
            new = _unseen(table, self._mirrored)
            if new.num_rows:
                self._without_failing(lambda: self._apply(new))
                self._on_batch(new.num_rows, time.perf_counter() - started)  # who waits for it finds it counted
                self._advance(new["seq"][-1].as_py())
            return self._checkpoint

    def fill(self, table: pa.Table) -> int:
        """Put a batch into the mirror and leave the views behind, for `settle`; the new position of the mirror.

        Far behind the ledger this is quicker: the views are then computed once. While they are being built anew, the
        batch is applied instead. Raises BatchOutOfOrder.
        """
        if not self.build_lock.acquire(blocking=False):
            return self.apply(table)
        started = time.perf_counter()
        try:
            with self.lock:
                new = _unseen(table, self._mirrored)
                if new.num_rows:
                    with self._batch(new):
                        self._insert(new)
                    self._mirrored = new["seq"][-1].as_py()
                    self._on_batch(new.num_rows, time.perf_counter() - started)
                return self._mirrored
        finally:
            self.build_lock.release()

    def settle(self) -> None:
        """Bring the views up to the mirror, after `fill`."""
        if self._checkpoint == self._mirrored:
            return
        with self.build_lock, self.lock:
            if self._checkpoint == self._mirrored:
                return
            self._without_failing(self._settle)
            self._advance(self._mirrored)

    def _apply(self, new: pa.Table) -> None:
        with self._batch(new):
            self._insert(new)
            scope.run(self.connection, "new", after=self._checkpoint)
            self._refresh()

    def _settle(self) -> None:
        events: int = sql.value(self.connection, "select events from ops.checkpoint")
        if self._mirrored - self._checkpoint > SETTLE_WHOLE_ABOVE * events:
            try:
                build(self, [view for view in self.views if view.stored], self._on_progress)
            except BaseException:
                self._on_progress("", 1.0)  # it is over, if not done
                raise
        else:
            with transaction(self.connection):
                scope.run(self.connection, "new", after=self._checkpoint)
                self._refresh()

    def _without_failing(self, work: Callable[[], None]) -> None:
        """`work`, which is whole or nothing; a view whose query fails on a row of the data is given up for it.

        Raises ViewRefused when the others rest on that view.
        """
        while True:
            try:
                return work()
            except ViewRefused as error:
                self.views = give_up(self.connection, self.views, error)
                self.refused += (error,)
                self._upkeep.close()
                self._upkeep = self._kept_up()

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Holds `lock`, with the views at the mirror's position."""
        while True:
            self.settle()  # not under `lock`, for it takes `build_lock`
            with self.lock:
                if self._checkpoint == self._mirrored:
                    yield
                    return

    def retry(self, table: pa.Table) -> None:
        """Put in again events that were broken and can be read now; what waited behind them counts from now on.

        Raises ValueError when the mirror does not hold one of them as broken.
        """
        with self.build_lock, self._settled():
            self._without_failing(lambda: self._retry(table))
        self.known.close()

    def _retry(self, table: pa.Table) -> None:
        with self._batch(table):
            if sql.value(self.connection, sql.load("projections.mirror", "not_broken.sql")):
                raise ValueError("only events that are dead letters can be tried again")
            self._mirror("forget", "insert", "letters")
            self._mirror(*_ending(table))
            discard(self.connection)  # a build left unfinished has read these events as broken
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

    def _insert(self, new: pa.Table) -> None:
        """The rows of the batch into the mirror, and its checkpoint."""
        self._mirror("insert")
        if new["problem"].null_count < new.num_rows:
            self._mirror("letters")
        self._mirror(*_ending(new), "advance")

    def _mirror(self, *steps: str) -> None:
        for step in steps:
            self.connection.execute(sql.load("projections.mirror", step + ".sql"))

    def _refresh(self) -> None:
        """Bring every view up to the mirror, of which `scope_new` holds what is new."""
        self._upkeep.refresh()
        self.connection.execute("update ops.checkpoint set views_seq = seq")

    def _kept_up(self) -> Upkeep:
        database: str = sql.value(self.connection, "select current_database()")
        return Upkeep(self.connection, database, self.views, lambda view: f"{sql.quoted(database)}.{view.table}")

    def _advance(self, seq: int) -> None:
        with self._advanced:
            self._mirrored = self._checkpoint = seq
            self._advanced.notify_all()


def _is_open(cursor: duckdb.DuckDBPyConnection) -> bool:
    """Asked in a way that disturbs no query under way."""
    try:
        cursor.query_progress()
    except duckdb.ResourceInUseException:  # it is being asked something right now
        return True
    except duckdb.ConnectionException:
        return False
    return True


def _unseen(table: pa.Table, after: int) -> pa.Table:
    """The rows of `table` above `after`.

    Raises BatchOutOfOrder when what is left is not strictly ascending.
    """
    new = table.filter(pc.greater(table["seq"], after))
    least_step = pc.min(pc.pairwise_diff(new["seq"].combine_chunks())).as_py()
    if least_step is not None and least_step < 1:
        raise BatchOutOfOrder("a batch holds its events in ledger order, each once")
    return new


def _ending(batch: pa.Table) -> tuple[str, ...]:
    """The step that takes what is personal from the mirror, where somebody is erased in the batch."""
    return ("erase",) if pc.any(pc.equal(batch["type"], Erased.type)).as_py() else ()
