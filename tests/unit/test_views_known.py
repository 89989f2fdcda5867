"""*Known at*: the views as they were when the ledger held less, whatever came later."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from infra.duckdb import open_database
from projections import Projector, queries
from projections.registry import VIEWS
from tests.unit.histories import CANDIDATES, RECORDED_AT, anything, contents, examples, fresh, histories, merges, table

STORED = [view.name for view in VIEWS if view.stored]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBPyConnection]:
    """A second file, to which nothing later ever came."""
    connection = open_database(tmp_path_factory.mktemp("known") / "rapport.duckdb")
    Projector(connection)
    yield connection
    connection.close()


@examples(6)
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


@examples(6)
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
