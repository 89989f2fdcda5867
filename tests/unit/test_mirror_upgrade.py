"""A file of an older version of Rapport is brought up to date in place; what it proves of the ledger stays."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given

from domain import candidate as c
from infra.duckdb import open_database
from projections import BATCH_SCHEMA, MirrorOutdated, Projector, rewriting, scope
from tests.unit.histories import (
    EPOCH,
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
from tests.unit.test_views_erased import named

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


def reached_by_index(connection: DuckDBPyConnection) -> list[Any]:
    """Every row as a batch reads it again, out of what stands in one piece; the same as its columns hold."""
    ids = "select distinct id as candidate_id, id as old_id from pii.events"
    connection.execute(f"create or replace temp table scope_records as {ids}")
    scope.run(connection, "rows")
    found = connection.execute("select distinct * from scope_rows order by seq").fetchall()
    assert found == connection.execute("from scope_columns order by seq").fetchall()
    return found


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
        Projector(connection)
        mirror = "select * exclude (body, matter, packed), matter from pii.events order by seq"
        assert connection.execute(mirror).fetchall() == database.execute(mirror).fetchall()
        assert reached_by_index(connection) == reached_by_index(database)
        assert contents(connection) == contents(database)
        assert connection.execute("select first_seq, last_seq, reason from ops.known_gaps").fetchall() == [GAP]
        Projector(connection).apply(table(history))  # brought up to date once, and not again
        fresh(database).apply(table(history))
        assert contents(connection) == contents(database)
    finally:
        connection.close()


def test_who_was_erased_in_a_file_of_version_3_can_be_purged_in_it(tmp_path: Path) -> None:
    """Bodies that it holds go when an event names them, and it is known that the file is to be written anew."""
    connection = open_database(tmp_path / "rapport.duckdb")
    try:
        id_ = "a" * 32
        erased = c.Erased(occurred_at=EPOCH, actor="user:x", erasure=id_, ground="objection")
        tagged = c.Tagged(occurred_at=EPOCH, actor="user:x", tag="x")
        history = [Recorded(1, "candidate", id_, 1, tagged), Recorded(2, "candidate", id_, 2, erased)]
        Projector(connection).apply(table(history))
        connection.execute("update ops.rewritten set seq = 2")
        for statement in (
            "drop macro table ops.purged",
            "drop index pii.events_of_id",
            "drop index pii.events_of_target",
            "alter table pii.events drop column packed",
            "alter table ops.erased drop column purged_seq",
            "update ops.views set version = 3 where name = 'mirror'",
        ):
            connection.execute(statement)
        projector = Projector(connection)
        assert not rewriting.is_needed(projector)
        projector.apply(pa.Table.from_pylist([named(history, id_, 3)], schema=BATCH_SCHEMA))
        assert connection.execute("select seq from pii.events where body is null").fetchall() == [(1,)]
        assert rewriting.is_needed(projector)
        assert rewriting.rewritten_up_to(projector) == 2
    finally:
        connection.close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "rapport.duckdb")
    Projector(connection)
    connection.execute("update ops.views set version = 99 where name = 'mirror'")
    with pytest.raises(MirrorOutdated, match="version 99"):
        Projector(connection)
    connection.close()
