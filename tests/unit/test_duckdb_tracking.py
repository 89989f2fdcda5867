"""Positions kept in a DuckDB file with what was made of the events: threads, crashes, errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from eventsourcing.persistence import IntegrityError, OperationalError, ProgrammingError, Tracking

from infra.duckdb import DuckDBDatastore, DuckDBTrackingRecorder

ROUNDS = 30 if os.environ.get("RAPPORT_SOAK") else 2
THREADS = 8


class Seen(DuckDBTrackingRecorder):
    """A view of the positions it was told."""

    def create_table(self) -> None:
        super().create_table()
        with self.datastore.transaction() as cursor:
            cursor.execute("create table if not exists seen (id bigint)")

    def see(self, id_: int, application_name: str = "upstream") -> None:
        with self.tracked(Tracking(application_name, id_)) as cursor:
            cursor.execute("insert into seen values (?)", [id_])

    def seen(self) -> list[int]:
        with self.datastore.reading() as cursor:
            return [id_ for (id_,) in cursor.execute("select id from seen order by rowid").fetchall()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "views.duckdb"


@pytest.fixture
def datastore(path: Path) -> Iterator[DuckDBDatastore]:
    datastore = DuckDBDatastore(path)
    yield datastore
    datastore.close()


@pytest.fixture
def view(datastore: DuckDBDatastore) -> Seen:
    view = Seen(datastore)
    view.create_table()
    return view


def test_a_view_and_its_position_are_stored_together_or_not_at_all(path: Path, view: Seen) -> None:
    """Whatever ends the block, an error of DuckDB or one of the view, neither is kept, now or in the file."""
    view.see(1)
    with pytest.raises(RuntimeError, match="a bug"), view.tracked(Tracking("upstream", 2)) as cursor:
        cursor.execute("insert into seen values (2)")
        raise RuntimeError("a bug")
    with pytest.raises(ProgrammingError, match="nowhere"), view.tracked(Tracking("upstream", 2)) as cursor:
        cursor.execute("insert into seen values (2)")
        cursor.execute("insert into nowhere values (2)")
    assert (view.seen(), view.max_tracking_id("upstream")) == ([1], 1)
    view.datastore.close()
    reopened = Seen(DuckDBDatastore(path))
    assert (reopened.seen(), reopened.max_tracking_id("upstream")) == ([1], 1)
    reopened.see(2)
    assert (reopened.seen(), reopened.max_tracking_id("upstream")) == ([1, 2], 2)
    reopened.datastore.close()


def test_an_event_processed_before_runs_nothing_of_its_block(view: Seen) -> None:
    view.see(5)
    for id_ in (5, 4):
        before = pytest.raises(IntegrityError, match=f"notification {id_} of 'upstream' was processed before")
        with before, view.tracked(Tracking("upstream", id_)):
            pytest.fail("the block was entered")
    assert view.seen() == [5]


def test_a_result_left_unread_is_in_nobodys_way(view: Seen) -> None:
    with view.tracked(Tracking("upstream", 1)) as cursor:
        cursor.execute("select * from range(1000000)")
    view.see(2)
    assert view.max_tracking_id("upstream") == 2


def test_of_threads_that_process_the_same_event_one_stores_it(path: Path, view: Seen) -> None:
    """Also for an application's first event, and also through several datastores on one file."""
    views = [view, Seen(DuckDBDatastore(path))]
    barrier = threading.Barrier(THREADS)

    def process(number: int, application_name: str) -> bool:
        barrier.wait()
        try:
            views[number % 2].see(1, application_name)
        except IntegrityError:
            return False
        return True

    with ThreadPoolExecutor(THREADS) as pool:
        for application_name in (f"upstream{number}" for number in range(20)):
            assert sum(pool.map(process, range(THREADS), [application_name] * THREADS)) == 1
    assert view.seen() == [1] * 20
    views[1].datastore.close()


def test_positions_rise_whatever_threads_do(view: Seen) -> None:
    """What threads stored in any order is in the view in rising order, each once, and the position is the last."""

    def process(number: int) -> int:
        stored = 0
        for id_ in range(1, 101):
            try:
                view.see(id_)
            except IntegrityError:
                continue
            stored += 1
        return stored

    with ThreadPoolExecutor(THREADS) as pool:
        stored = sum(pool.map(process, range(THREADS)))
    seen = view.seen()
    assert len(seen) == stored
    assert seen == sorted(set(seen))
    assert seen[-1] == view.max_tracking_id("upstream") == 100


def test_readers_do_not_wait_for_a_writer_and_see_what_is_committed(view: Seen) -> None:
    view.see(1)
    with view.tracked(Tracking("upstream", 2)) as cursor, ThreadPoolExecutor(1) as reader:
        cursor.execute("insert into seen values (2)")
        assert reader.submit(view.max_tracking_id, "upstream").result(timeout=30) == 1
        assert reader.submit(view.seen).result(timeout=30) == [1]
    assert (view.max_tracking_id("upstream"), view.seen()) == (2, [1, 2])


def test_a_transaction_inside_another_is_refused(view: Seen) -> None:
    """It would wait for itself; the one outside is undone, and the next goes through."""
    refused = pytest.raises(ProgrammingError, match="open in this thread already")
    with refused, view.tracked(Tracking("upstream", 1)):
        view.insert_tracking(Tracking("upstream", 2))
    assert view.max_tracking_id("upstream") is None
    view.see(1)


def test_projections_in_one_file_have_positions_of_their_own(datastore: DuckDBDatastore) -> None:
    first, second = DuckDBTrackingRecorder(datastore, "first"), DuckDBTrackingRecorder(datastore, "second")
    first.create_table()
    first.insert_tracking(Tracking("upstream", 7))
    assert second.max_tracking_id("upstream") is None
    second.insert_tracking(Tracking("upstream", 3))
    assert (first.max_tracking_id("upstream"), second.max_tracking_id("upstream")) == (7, 3)


def test_the_file_does_not_keep_positions_left_behind(view: Seen) -> None:
    for id_ in range(1, 301):
        view.insert_tracking(Tracking("upstream", id_))
    with view.datastore.reading() as cursor:
        rows = cursor.execute("select estimated_size from duckdb_tables() where table_name = 'tracking'").fetchall()
    assert rows == [(1,)]


def test_a_file_that_cannot_be_opened_is_named(path: Path) -> None:
    path.write_text("no database")
    with pytest.raises(OperationalError, match=r"views\.duckdb cannot be read as a DuckDB database"):
        DuckDBDatastore(path)


def test_a_closed_file_is_an_operational_error(view: Seen) -> None:
    view.datastore.close()
    view.datastore.close()
    with pytest.raises(OperationalError, match="closed"):
        view.see(1)
    with pytest.raises(OperationalError, match="closed"):
        view.max_tracking_id("upstream")


PROGRAM = """
import itertools, sys
from pathlib import Path
from eventsourcing.persistence import Tracking
from infra.duckdb import DuckDBDatastore
from tests.unit.test_duckdb_tracking import Seen

view = Seen(DuckDBDatastore(Path(sys.argv[1])))
view.create_table()
for id_ in itertools.count((view.max_tracking_id("upstream") or 0) + 1):
    {body}
"""


def start(path: Path, body: str) -> subprocess.Popen[str]:
    """A process that goes on with the view where the file says, and prints what `body` has it print."""
    program = PROGRAM.format(body=body)
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_sigkill_loses_nothing_acknowledged_and_keeps_nothing_by_halves(path: Path) -> None:
    for round_ in range(ROUNDS):
        with start(path, "view.see(id_); print(id_, flush=True)") as process:
            assert process.stdout is not None
            acknowledged = [int(process.stdout.readline()) for _ in range(1 + 37 * round_ % 100)]
            with pytest.raises(OperationalError, match="is open in another process"):
                DuckDBDatastore(path)
            process.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
        view = Seen(DuckDBDatastore(path))
        last = view.max_tracking_id("upstream")
        assert last in (acknowledged[-1], acknowledged[-1] + 1)
        assert view.seen() == list(range(1, last + 1))
        view.datastore.close()


def test_sigkill_in_a_transaction_leaves_nothing_of_it(path: Path) -> None:
    body = (
        "with view.tracked(Tracking('upstream', id_)) as cursor:"
        "  cursor.execute('insert into seen values (?)', [id_]); print('inside', flush=True); sys.stdin.read()"
    )
    Seen(DuckDBDatastore(path)).datastore.close()
    with start(path, body) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        process.send_signal(signal.SIGKILL)
    view = Seen(DuckDBDatastore(path))
    assert (view.seen(), view.max_tracking_id("upstream")) == ([], None)
    view.see(1)
    assert view.max_tracking_id("upstream") == 1
    view.datastore.close()
