"""*Known at*: the views as they were when the ledger held less, whatever came later."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from infra.duckdb import open_database
from projections import Projector, queries
from projections.known import KEPT
from projections.registry import VIEWS
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

A = "a" * 32

STORED = [view.name for view in VIEWS if view.stored]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBPyConnection]:
    """A second file, to which nothing later ever came."""
    connection = open_database(tmp_path_factory.mktemp("known") / "rapport.duckdb")
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
    overlays = "select count(*) from duckdb_databases() where database_name like 'overlay%'"
    assert database.execute(overlays).fetchall() == [(KEPT,)]
    with projector.known.of_all(10, ["profile"]) as cursor:
        projector.known.close()
        assert cursor.execute("select events from pii.profile").fetchall() == [(10,)]
    assert database.execute(overlays).fetchall() == [(0,)]
