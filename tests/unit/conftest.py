"""The DuckDB file that tests of the views share; `tests.unit.histories.fresh` empties it."""

from collections.abc import Iterator

import pytest
from duckdb import DuckDBPyConnection

from infra.duckdb import open_database
from projections import Projector
from tests.views import empty_views


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBPyConnection]:
    connection = open_database(empty_views(tmp_path_factory.mktemp("views") / "rapport.duckdb"))
    Projector(connection)
    yield connection
    connection.close()
