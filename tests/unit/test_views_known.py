"""*Known at*: the views as they were when the ledger held less, whatever came later."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import duckdb
import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from domain.engagement import ENGAGEMENT_MODEL
from infra.duckdb import open_database
from projections import Projector, computing, known, queries
from projections import what_if as what_ifs
from projections.computing import Place
from projections.known import KEPT
from projections.one_at_a_time import ComputingBusy
from projections.overlay import Overlay
from projections.registry import VIEWS
from projections.view import View
from projections.what_if import what_if
from tests.unit.histories import (
    CANDIDATES,
    EPOCH,
    RECORDED_AT,
    anything,
    contents,
    examples,
    fresh,
    histories,
    merges,
    recorded,
    table,
)
from tests.views import empty_views

A = "a" * 32

OVERLAYS = "select count(*) from duckdb_databases() where database_name like 'overlay%'"
STORED = [view.name for view in VIEWS if view.stored]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBPyConnection]:
    """A second file, to which nothing later ever came."""
    connection = open_database(empty_views(tmp_path_factory.mktemp("known") / "rapport.duckdb"))
    Projector(connection)
    yield connection
    connection.close()


@examples(4)
@given(st.data())
def test_known_at_is_what_was_shown_then(
    database: DuckDBPyConnection, other: DuckDBPyConnection, data: st.DataObject
) -> None:
    """Of everybody: each view, row by row, equals the view of a ledger that ends there; by seq and by time."""
    history = data.draw(histories(*anything, merges, pools=True))
    known = data.draw(st.integers(1, len(history)))
    projector = fresh(database)
    projector.apply(table(history))
    fresh(other).apply(table(history[:known]))
    at = RECORDED_AT + timedelta(seconds=known)
    for known_at in (known, at):
        with projector.known.of_all(known_at, STORED) as cursor:
            assert contents(cursor) == contents(other)
    projector.known.close()


@examples(4)
@given(st.data())
def test_known_at_of_one_person_is_what_was_shown_of_them_then(
    database: DuckDBPyConnection, other: DuckDBPyConnection, data: st.DataObject
) -> None:
    """The rows of the person alone, who may have been two by then."""
    history = data.draw(histories(*anything, merges, pools=True))
    known, asked = data.draw(st.integers(1, len(history))), data.draw(st.sampled_from(CANDIDATES))
    projector = fresh(database)
    projector.apply(table(history))
    fresh(other).apply(table(history[:known]))
    with projector.known.of_person(known, asked, STORED) as cursor:
        assert of_person(cursor, asked) == of_person(other, asked)


def of_person(cursor: DuckDBPyConnection, candidate_id: str) -> dict[str, Any]:
    """What every view that has persons holds of this one."""
    canonical = queries.canonical(cursor, candidate_id)
    found = {"identity": queries.records(cursor, candidate_id)}
    for view in VIEWS:
        if view.by_person:
            rows = cursor.execute(f"from {view.table} where canonical_id = ?", [canonical]).fetchall()
            found[view.name] = sorted(rows, key=repr)
    return found


@examples(3)
@given(st.data())
def test_a_time_that_is_not_over_is_about_everything_there_is_by_then(
    database: DuckDBPyConnection, data: st.DataObject
) -> None:
    """Nothing is kept of it: what comes later belongs to it, too."""
    history = data.draw(histories(*anything, merges, pools=True))
    half = data.draw(st.integers(1, len(history)))
    projector = fresh(database)
    for until in (half, len(history)):
        projector.apply(table(history[:until]))
        for known_at in (10**9, RECORDED_AT + timedelta(days=1000), RECORDED_AT + timedelta(seconds=until)):
            with projector.known.of_all(known_at, STORED) as cursor:
                assert contents(cursor) == contents(database)
    projector.known.close()


def test_questions_about_the_past_leave_nothing_behind(database: DuckDBPyConnection) -> None:
    """Of everybody the last states are kept, of one person none."""
    projector = fresh(database)
    events = [(A, c.Tagged(occurred_at=EPOCH, actor="user:x", tag="go")) for _ in range(12)]
    projector.apply(table(recorded(events)))
    for known_at in range(1, 11):
        with projector.known.of_all(known_at, ["profile"]) as cursor:
            assert len(cursor.execute("from pii.profile").fetchall()) == 1
        with projector.known.of_person(known_at, A, ["profile"]) as cursor:
            assert cursor.execute("select events from pii.profile").fetchall() == [(known_at,)]
    assert database.execute(OVERLAYS).fetchall() == [(KEPT,)]
    with projector.known.of_all(10, ["profile"]) as cursor:
        projector.known.close()
        assert cursor.execute("select events from pii.profile").fetchall() == [(10,)]
    assert database.execute(OVERLAYS).fetchall() == [(0,)]


# ── one at a time ──


def endless(over: Overlay, *_: Any, **__: Any) -> None:
    """In place of computing; it takes far longer than any test."""
    over.connection.execute("create table " + over.above("half") + " as select 1 as one")
    over.connection.execute("select count(*) from range(1_000_000) a, range(1_000_000) b where a.range % 7 = b.range")


@contextmanager
def asking(ask: Callable[[], object]) -> Iterator[list[object]]:
    """What somebody else gets who asks meanwhile, or how it is refused; it is there when the block has ended."""
    got: list[object] = []

    def run() -> None:
        try:
            got.append(ask())
        except (ComputingBusy, duckdb.Error) as error:
            got.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield got
    finally:
        thread.join()


def profiles(projector: Projector, known_at: int, wait_s: float | None = None) -> list[tuple[Any, ...]]:
    with projector.known.of_all(known_at, ["profile"], wait_s) as cursor:
        return cursor.execute("select events from pii.profile").fetchall()


@pytest.fixture
def twelve(database: DuckDBPyConnection) -> Iterator[Projector]:
    """Twelve events of one person."""
    projector = fresh(database)
    projector.apply(table(recorded([(A, c.Tagged(occurred_at=EPOCH, actor="user:x", tag="go")) for _ in range(12)])))
    yield projector
    projector.known.close()


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30.0
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


@pytest.mark.parametrize("what", ["known", "what if"])
def test_what_is_being_computed_ends_when_everything_is_forgotten(
    twelve: Projector, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """And nothing of it stays: the same question has its answer afterwards."""
    asked = {"known": lambda: profiles(twelve, 5), "what if": lambda: what_if(twelve, ENGAGEMENT_MODEL, EPOCH, 10)}
    with monkeypatch.context() as patch:
        patch.setattr(known, "_compute", endless)
        patch.setattr(what_ifs, "define", endless)
        with asking(asked[what]) as got, asking(lambda: profiles(twelve, 6, 60.0)) as waited:
            until(lambda: twelve.known.computing._at_work)
            until(lambda: twelve.known.computing._places._value < 3)
            twelve.known.close()
    assert [type(error) for error in got + waited] == [duckdb.ConnectionException] * 2
    assert twelve.connection.execute(OVERLAYS).fetchall() == [(0,)]
    assert profiles(twelve, 5) == [(5,)]


def test_few_wait_for_their_turn_and_what_is_at_hand_needs_none(twelve: Projector) -> None:
    assert profiles(twelve, 3) == [(3,)]
    computing = twelve.known.computing
    with ExitStack() as stack, computing.turn():
        with pytest.raises(ComputingBusy):
            profiles(twelve, 4, 0.01)
        waiting = [stack.enter_context(asking(lambda n=n: profiles(twelve, n, 60.0))) for n in (5, 6, 7)]
        until(lambda: not computing._places._value)
        with pytest.raises(ComputingBusy):
            profiles(twelve, 4, 60.0)
        assert profiles(twelve, 3, 60.0) == [(3,)]
    assert waiting == [[[(5,)]], [[(6,)]], [[(7,)]]]


def test_what_was_computed_in_part_is_not_gone_on_with(twelve: Projector, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full, say, after some of the views: the next answer would count them twice."""
    assert profiles(twelve, 5) == [(5,)]

    def compute_part(over: Overlay, views: Sequence[View], place: Place, part: int, *rest: Any) -> None:
        computing.compute_part(over, views, place, part, *rest)
        if part:
            raise duckdb.IOException("no room")

    with monkeypatch.context() as patch:
        patch.setattr(known, "compute_part", compute_part)
        with pytest.raises(duckdb.IOException):
            profiles(twelve, 7)
    assert profiles(twelve, 7) == [(7,)]
    assert profiles(twelve, 5) == [(5,)]
    assert twelve.connection.execute(OVERLAYS).fetchall() == [(2,)]
