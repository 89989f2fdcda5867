"""A build copies of the events only the columns that its views read, and every column to a view that may read any."""

from pathlib import Path

import pytest

from domain import candidate as c
from infra.duckdb import open_database
from projections import Projector, rebuild
from projections.computing import compute_part, define
from projections.overlay import overlay
from projections.registry import VIEWS, discover
from projections.view import View
from tests.unit.histories import EPOCH, recorded, table
from tests.views import empty_views

MANIFEST = """
version = 1
description = "Something of each person"
schema = "pii"
recompute_by = ["canonical_id"]
depends_on = ["identity"]

[columns]
canonical_id = "The person"
kept = "What is kept"
"""
NAMED = "select canonical_id, max(TYPE) as kept from scope_events group by canonical_id"
READ = {
    "by name, in other letters": NAMED,
    "by name, in using": """select canonical_id, count(*) as kept
        from scope_events join (select 'candidate' as kind) using (kind) group by canonical_id""",
    "as a row": "select canonical_id, max(e::varchar) as kept from scope_events e group by canonical_id",
    "as a row by the table's name": """select canonical_id, max(scope_audit_events::varchar) as kept
        from scope_audit_events group by canonical_id""",
    "by a star": """select canonical_id, max(t::varchar) as kept
        from (from scope_events) t group by canonical_id""",
    "by a pattern": """select canonical_id, max(k) as kept
        from (select canonical_id, columns('^ki.d$') as k from scope_events) group by canonical_id""",
    "by place": "select canonical_id, max(b) as kept from scope_events as t(a, b) group by canonical_id",
    "by number": "select canonical_id, max(k) as kept from (select canonical_id, #2 as k from scope_events) group by 1",
    "by name through a function": """select canonical_id, max(t::varchar) as kept
        from (from query_table('scope_events')) t group by canonical_id""",
}


def view(folder: Path, query: str) -> View:
    (folder / "views" / "kept").mkdir(parents=True)
    (folder / "views" / "kept" / "view.toml").write_text(MANIFEST)
    (folder / "views" / "kept" / "view.sql").write_text(query)
    [found] = discover(folder / "views", VIEWS)
    return found


def history() -> list[tuple[str, c.CandidateEvent]]:
    return [(id_, c.Tagged(occurred_at=EPOCH, actor="user:x", tag=id_[:2])) for id_ in ("a" * 32, "b" * 32)]


@pytest.mark.parametrize("query", READ.values(), ids=READ)
def test_however_a_view_reads_a_column_it_is_there_in_a_build(tmp_path: Path, query: str) -> None:
    """What is kept up over whole rows equals what a build makes."""
    with open_database(empty_views(tmp_path / "rapport.duckdb")) as connection:
        projector = Projector(connection, (*VIEWS, view(tmp_path, query)))
        assert projector.refused == ()
        projector.apply(table(recorded(history())))
        kept_up = connection.execute("from pii.kept order by all").fetchall()
        assert len(kept_up) == 2
        rebuild(projector, "kept")
        assert connection.execute("from pii.kept order by all").fetchall() == kept_up


@pytest.mark.parametrize(("query", "columns"), [(NAMED, {"canonical_id", "type", "waits"}), (READ["by a star"], None)])
def test_a_part_copies_the_columns_that_are_read(tmp_path: Path, query: str, columns: set[str] | None) -> None:
    """All there are, where the view takes rows whole."""
    with open_database(empty_views(tmp_path / "rapport.duckdb")) as connection:
        projector = Projector(connection)
        projector.apply(table(recorded(history())))
        kept = view(tmp_path, query)
        with projector.cursor() as cursor, overlay(cursor) as over:
            define(over, [kept], lambda _: over.above("main.kept"))
            compute_part(over, [kept], lambda _: over.above("main.kept"), part=1, parts=1)
            there = {row[0] for row in cursor.execute("describe scope_audit_events").fetchall()}
            everything = {row[0] for row in cursor.execute("describe scope_of_persons").fetchall()}
        assert there == (columns or everything)
