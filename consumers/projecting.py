"""From the ledger into the views, in order: followed and decoded on one thread, applied on another."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from eventsourcing.persistence import OperationalError

from consumers.decoding import table_of
from consumers.loss import shown
from domain.candidate import Erased
from infra import codec, tracing
from infra.crypto.keyring import Keyring
from infra.crypto.master import KeysMissing
from infra.jetstream import Follower, LedgerReader, RawMessage
from infra.priority import give_way
from projections import Projector, ViewRefused, mirrored
from projections.mirrored import Gap
from projections.upkeep import FAULTS

RETRY_AFTER_S = 1.0
PAGE_EVENTS = 5_000
"""As many are read and decoded in one go. Fewer than that were all there are for now."""
BATCHES_AHEAD = 3
"""As many may wait, decoded: DuckDB folding its log into the file keeps one waiting for seconds."""
SETTLE_AFTER_S = 300.0
"""While a backlog lasts, the mirror runs ahead of the views, for so long at most."""
LOOKED_AT = 500
"""In so many events of a batch it is looked whose requests they come from, while anything is traced."""

log = structlog.get_logger()


class HistoryHole(Exception):
    """The ledger passed over a seq of which it is not known that nothing is there."""


class Ahead:
    """Iterates over the tables of `source`, which is run on a thread of its own while the caller works on others.

    Each of them has at most `page` rows. Those that follow each other are handed out as one of at most `rows`, and
    `BATCHES_AHEAD` times as many wait at most. One of less than `page` rows, be it empty, says that there is no more
    for now: then nothing is waited for. Behind a full one it is handed out even when it is empty. What `source` raises
    is raised behind its tables. Leaving the `with` block calls `stop`, upon which `source` has to end soon.
    """

    def __init__(self, source: Iterator[pa.Table], stop: Callable[[], None], page: int, rows: int) -> None:
        self._source = source
        self._stop = stop
        self._page = page
        self._rows = rows
        self._waiting: deque[pa.Table] = deque()
        self._count = 0
        self._error: BaseException | None = None
        self._hurry = self._over = self._left = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="rapport-decoding")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._left = True
            self._changed.notify_all()
        self._stop()
        self._thread.join()

    def __iter__(self) -> Iterator[pa.Table]:
        while (table := self._take()) is not None:
            yield table

    def _take(self) -> pa.Table | None:
        with self._changed:
            self._changed.wait_for(lambda: self._over or (self._waiting and (self._hurry or self._holds(1))))
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return None
            tables, count = list[pa.Table](), 0
            while self._waiting and count + self._page <= self._rows:  # so that nothing is joined to a full one
                tables.append(self._waiting.popleft())
                count += tables[-1].num_rows
            self._count -= count
            self._changed.notify_all()
        return pa.concat_tables(tables)

    def _holds(self, batches: int) -> bool:
        return self._count + self._page > self._rows * batches

    def _run(self) -> None:
        give_way()
        error = None
        try:
            for table in self._source:
                if not self._put(table):
                    break
        except BaseException as raised:  # noqa: BLE001 - whoever takes the tables is told
            error = raised
        with self._changed:
            self._over, self._error = True, error
            self._changed.notify_all()

    def _put(self, table: pa.Table) -> bool:
        """Whether more is wanted, when there is room for it."""
        with self._changed:
            if table.num_rows or not self._hurry:
                self._waiting.append(table)
                self._count += table.num_rows
            self._hurry = table.num_rows < self._page
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._left or not self._holds(BATCHES_AHEAD))
            return not self._left


class Projecting:
    """Keeps the views in step with the ledger until stopped. `failure` says what stopped it, if anything did."""

    def __init__(
        self,
        reader: LedgerReader,
        projector: Projector,
        keyring: Keyring,
        batch_events: int,
        on_erased: Callable[[str], None] = lambda _id: None,
    ) -> None:
        """`on_erased` is told the id of each record that was erased, once the mirror has forgotten it."""
        self._reader = reader
        self._on_erased = on_erased
        self._projector = projector
        self._keyring = keyring
        self._batch_events = batch_events
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rapport-projecting")
        self._follower: Follower | None = None
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begins where the mirror ends."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the batch at hand. Safe to call twice."""
        self._stopping.set()
        if self._follower is not None:
            self._follower.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        give_way()
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to; readiness reports it
            self.failure = error
            log.error("projecting stopped", error=type(error).__name__)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow_on()
            except (duckdb.Error, ViewRefused, HistoryHole, KeysMissing, MemoryError) as error:
                # A full disk, as a rule, or no memory: nothing of the batch was kept, and it is tried until there is
                # room. Without keys nothing is mirrored as if it were closed for good: it waits for the key.
                self.failure = error
                log.error("views stand still, trying again", error=type(error).__name__, reason=_reason(error))
                self._stopping.wait(RETRY_AFTER_S)
            except OperationalError as error:
                log.warning("ledger out of reach, trying again", error=type(error).__name__)
                self._stopping.wait(RETRY_AFTER_S)

    def _follow_on(self) -> None:
        """From the checkpoint on, until stopped."""
        page = min(PAGE_EVENTS, self._batch_events)
        position = self._projector.mirrored
        self._keyring.read_ahead(self._reader.last_seq() - position, lambda: not self._stopping.is_set())
        with self._reader.follow(position, max_batch=page) as self._follower:
            tables = self._tables(self._follower, position)
            with Ahead(tables, self._follower.stop, page, self._batch_events) as ahead:
                settle_at = time.monotonic() + SETTLE_AFTER_S
                for table in ahead:
                    if self._stopping.is_set():
                        return
                    backlog = table.num_rows > self._batch_events - page and table.num_rows % page == 0
                    if backlog and time.monotonic() < settle_at:
                        _traced(self._projector.fill, table)  # the views are brought up at the end of it
                    else:
                        _traced(self._projector.apply, table)
                        settle_at = time.monotonic() + SETTLE_AFTER_S
                    self._forget_erased(table)
                    self.failure = None

    def _forget_erased(self, table: pa.Table) -> None:
        """Has nothing at hand of whoever was erased, through this node or another."""
        erased = table.select(["kind", "id"]).filter(pc.equal(table["type"], Erased.type))
        for row in erased.to_pylist():
            self._keyring.forget(codec.aggregate_id(row["kind"], row["id"]))
            self._on_erased(row["id"])

    def _tables(self, follower: Follower, position: int) -> Iterator[pa.Table]:
        """What lies behind `position`, up to where the ledger passes over a seq: what a server cannot read, it leaves
        out. Raises HistoryHole.
        """
        for batch in follower:
            if self._stopping.is_set():
                return
            usable, hole = self._up_to_hole(batch, position)
            yield table_of(usable, self._keyring)
            position = usable[-1].seq if usable else position
            if hole is not None:
                raise HistoryHole(
                    f"the ledger does not hand out what it took ({shown([hole])}); see `rapport verify` before "
                    "anything is restarted"
                )

    def _up_to_hole(self, batch: Sequence[RawMessage], position: int) -> tuple[Sequence[RawMessage], Gap | None]:
        """What follows `position` without a hole that is not known, and the hole."""
        if not batch or batch[-1].seq - position == len(batch):
            return batch, None
        with self._projector.cursor() as cursor:
            known = mirrored.known_gaps(cursor)
        for count, message in enumerate(batch):
            passed = [(position + 1, message.seq - 1)] if message.seq > position + 1 else []
            if holes := mirrored.unknown_gaps(passed, known):
                return batch[:count], holes[0]
            position = max(position, message.seq)
        return batch, None


def _traced(into: Callable[[pa.Table], int], table: pa.Table) -> None:
    """`into` of a batch; a span where there is anything in it, linked to the requests of its first events."""
    if not table.num_rows:
        into(table)
        return
    with tracing.work("project", _correlations(table), events=table.num_rows):
        into(table)


def _correlations(table: pa.Table) -> Iterator[str | None]:
    for text in table["public"][:LOOKED_AT].to_pylist():
        if text is not None:
            yield orjson.loads(text).get("correlation")


def _reason(error: Exception) -> str:
    """The first line; nothing of what may quote a row."""
    quotes = isinstance(error, duckdb.Error) and not isinstance(error, FAULTS)
    return "" if quotes else str(error).strip().partition("\n")[0]
