"""`docs/views.md` is what the views say of themselves, and its examples run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection

from infra.duckdb import open_database
from projections import Projector, describing
from projections.registry import VIEWS
from projections.view import View
from tests.unit.histories import recorded, table
from tests.unit.test_views_types import BASE
from tests.views import empty_views

DOCUMENT = Path(__file__).parents[2] / "docs" / "views.md"


def test_the_document_is_up_to_date(database: DuckDBPyConnection) -> None:
    """`python -m projections.describing > docs/views.md` makes it anew."""
    assert DOCUMENT.read_text("utf-8") == describing.document(database) + "\n"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBPyConnection]:
    """A file with some events."""
    with open_database(empty_views(tmp_path_factory.mktemp("filled") / "rapport.duckdb")) as connection:
        Projector(connection).apply(table(recorded(BASE)))
        yield connection


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_view_has_an_example_that_runs(
    database: DuckDBPyConnection, filled: DuckDBPyConnection, view: View
) -> None:
    """On a file without events and on one with some."""
    query = describing.example(view)
    assert query is not None
    assert view.name in query
    assert database.execute("select count(*) from events").fetchall() == [(0,)]
    database.execute(query).fetchall()
    filled.execute(query).fetchall()


def test_what_is_not_in_schema_pii_has_no_personal_column() -> None:
    """Views of schema main read nothing of schema pii but who is in which pool and what is on or off."""
    personal = {view.name for view in VIEWS if view.schema == "pii"}
    for view in VIEWS:
        if view.schema == "main" and not view.stored:
            assert "pii." not in view.query, view.name
            assert not personal & {below.name for below in view.depends_on}, view.name
