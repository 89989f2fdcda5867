"""A file of an older version of Rapport is brought up to date in place; what it proves of the ledger stays."""

from pathlib import Path

import duckdb
import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given

from infra.duckdb import open_database
from projections import MirrorOutdated, Projector
from tests.unit.histories import (
    Recorded,
    acts,
    contents,
    examples,
    fresh,
    histories,
    merges,
    profiles,
    statements,
    table,
    tags,
)

SCHEMA_1 = Path(__file__).parents[1] / "golden" / "mirror" / "schema_1.sql"
GAP = (7, 9, "an accepted loss")


def older(path: Path, found: DuckDBPyConnection) -> None:
    """A file as version 1 of the mirror would have it, with the events of `found`."""
    path.unlink(missing_ok=True)
    with duckdb.connect(path) as old:
        old.execute("set timezone = 'UTC'")
        old.execute(SCHEMA_1.read_text())
        shared = "select * exclude (odd_id), replace(id::varchar, '-', '') as hex from pii.events"
        new = found.sql(shared).to_arrow_table()
        old.register("new", new)
        for name in ("main.events", "pii.events"):
            schema, _, table_name = name.partition(".")
            columns = [
                row[0]
                for row in old.execute(
                    "select column_name from duckdb_columns() where schema_name = ? and table_name = ?",
                    [schema, table_name],
                ).fetchall()
            ]
            values = [
                "hex" if c == "id" else f"replace({c}::varchar, '-', '')" if c == "target_id" else c for c in columns
            ]
            where = "where fields is not null" if schema == "pii" else ""
            old.execute(f"insert into {name} select {', '.join(values)} from new {where}")  # noqa: S608
        old.execute("create table main.identity as select 'left' as candidate_id, 'over' as canonical_id")
        old.execute("insert into ops.views values ('mirror', 1, '', now(), 0), ('identity', 1, 'x', now(), 0)")
        old.execute(
            "update ops.checkpoint set seq = (select coalesce(max(seq), 0) from events), "
            "events = (select count(*) from events)"
        )
        old.execute("insert into ops.known_gaps values (?, ?, ?, now())", GAP)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("older")


@examples(4)
@given(histories(profiles, tags, statements, acts, merges, pools=True))
def test_a_file_of_version_1_holds_the_same_after_the_upgrade(
    database: DuckDBPyConnection, folder: Path, history: list[Recorded]
) -> None:
    """Rows, views, checkpoint, accepted gaps; and it goes on from there."""
    fresh(database).apply(table(history[:-1]))
    older(folder / "rapport.duckdb", database)
    connection = open_database(folder / "rapport.duckdb")
    try:
        projector = Projector(connection)
        mirror = "select * exclude (body, matter), matter from pii.events order by seq"
        assert connection.execute(mirror).fetchall() == database.execute(mirror).fetchall()
        assert contents(connection) == contents(database)
        assert connection.execute("select first_seq, last_seq, reason from ops.known_gaps").fetchall() == [GAP]
        projector.apply(table(history))
        fresh(database).apply(table(history))
        assert contents(connection) == contents(database)
    finally:
        connection.close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "rapport.duckdb")
    Projector(connection)
    connection.execute("update ops.views set version = 99 where name = 'mirror'")
    with pytest.raises(MirrorOutdated, match="version 99"):
        Projector(connection)
    connection.close()
