"""The engine of views: a folder is a view, a bad one is refused, a build can be stopped anywhere."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from infra.duckdb import open_database
from projections import Projector, ViewRefused, computing, installing, mirror, rebuild, rebuilding
from projections.registry import VIEWS, discover
from projections.transaction import transaction
from projections.view import PERSONAL_COLUMNS, View
from tests.unit.histories import EPOCH, anything, contents, cuts, examples, fresh, histories, merges, recorded, table
from tests.views import empty_views

A, B = "a" * 32, "b" * 32

MANIFEST = """
version = 1
description = "How often each person was tagged"
grain = ["canonical_id"]
recompute_by = ["canonical_id"]
types = ["tagged"]
depends_on = ["identity"]

[columns]
canonical_id = "The person"
tags = "How often"
"""
QUERY = """select canonical_id, count(*) as tags
from scope_events
where type = 'tagged'
group by canonical_id
"""

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
Write = Callable[..., tuple[View, ...]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes one view into a folder of views, and finds what is there."""

    def _write(name: str = "tag_counts", manifest: str = MANIFEST, query: str = QUERY) -> tuple[View, ...]:
        folder = tmp_path / "views" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "view.toml").write_text(manifest)
        (folder / "view.sql").write_text(query)
        return (*VIEWS, *discover(tmp_path / "views", VIEWS))

    return _write


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[DuckDBPyConnection]:
    opened = open_database(empty_views(tmp_path / "rapport.duckdb"))
    yield opened
    opened.close()


def tagged(*candidates: str) -> list[tuple[str, c.CandidateEvent]]:
    return [
        (id_, c.Tagged(occurred_at=EPOCH + timedelta(days=n), actor="user:x", tag=f"t{n}"))
        for n, id_ in enumerate(candidates)
    ]


def counts(connection: DuckDBPyConnection) -> list[int]:
    return [n for (n,) in connection.execute("select tags from tag_counts order by tags").fetchall()]


def test_a_new_view_is_one_new_folder(write: Write, connection: DuckDBPyConnection) -> None:
    """It is built, kept up, rebuilt, described, and seen in the catalogue."""
    history = recorded(tagged(A, A, B, A))
    Projector(connection).apply(table(history[:2]))
    projector = Projector(connection, write())
    assert projector.refused == ()
    assert counts(connection) == [2]
    projector.apply(table(history[2:]))
    assert counts(connection) == [1, 3]
    rebuild(projector, "tag_counts")
    assert counts(connection) == [1, 3]
    described = "select comment from duckdb_columns() where (table_name, column_name) = ('tag_counts', 'tags')"
    assert ("How often",) in connection.execute(described).fetchall()
    Projector(connection)
    assert connection.execute("select name from ops.views where name = 'tag_counts'").fetchall() == []


BAD = {
    "an SQL error": (MANIFEST, "select canonical_id,\n  count(* as tags\nfrom scope_events", "view.sql:2: .*syntax"),
    "a column that is not there": (
        MANIFEST,
        "select canonical_id,\n\n nonsense as tags from scope_events",
        "view.sql:3: ",
    ),
    "a table that is not there": (MANIFEST, "select canonical_id, 1 as tags\nfrom nowhere", "view.sql:2: .*nowhere"),
    "a key that is none": (
        MANIFEST,
        "select canonical_id, seq as tags from scope_events",
        "view.sql: its grain is no key",
    ),
    "a column without description": (MANIFEST, QUERY.replace("select", "select 1 as more,"), "view.toml: .*'more'"),
    "a description without column": (MANIFEST + 'more = "x"\n', QUERY, "view.toml: .*'more'"),
    "a key that the query lacks": (
        MANIFEST.replace('recompute_by = ["canonical_id"]', 'recompute_by = ["canonical_id", "pool_id"]'),
        QUERY,
        "view.toml: .*'pool_id'",
    ),
    "an error in a row, which is not quoted": (
        MANIFEST,
        "select canonical_id, sum(error('boom'))::int as tags\nfrom scope_events group by canonical_id",
        "view.sql: (?!.*boom).* at a row of the data",
    ),
    "a second statement": (MANIFEST, QUERY + "; drop table ops.dead_letters", "view.sql: a view is one SELECT"),
    "a deletion in a WITH": (
        MANIFEST,
        "with d as (delete from pii.events returning seq) select canonical_id, 1 as tags from identity, d",
        "view.sql: a view is one SELECT",
    ),
    "no SELECT": (MANIFEST, "drop table ops.dead_letters", "view.sql: a view is one SELECT"),
    "a file": (MANIFEST, "select canonical_id, 1 as tags from identity, read_csv('/etc/passwd')", "view.sql:1: "),
    **{
        f"personal data where analysts see it: {query}": (MANIFEST, query, "view.toml: it reads what is personal")
        for query in (
            "select canonical_id, 1 as tags from pii.profile",
            "select canonical_id, max(First_Name) as tags from scope_events group by canonical_id",
            "select canonical_id, e as tags from scope_events e",
            "select canonical_id, x as tags from (from scope_usable) as t(x)",
            "select columns('can.*'), #1 as tags from scope_events",
        )
    },
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_definition_is_refused_with_file_and_line_and_the_one_before_goes_on(
    write: Write, connection: DuckDBPyConnection, case: str
) -> None:
    """At start; the view is kept up by its earlier text meanwhile, over restarts, until the text is mended."""
    manifest, query, message = BAD[case]
    history = recorded(tagged(A, A, B, A, B))
    Projector(connection, write()).apply(table(history[:3]))
    for until in (4, 5):
        projector = Projector(connection, write(manifest=manifest, query=query))
        [refusal] = projector.refused
        assert refusal.view == "tag_counts"
        with pytest.raises(ViewRefused, match=message):
            raise refusal
        projector.apply(table(history[:until]))
    assert counts(connection) == [2, 3]
    assert Projector(connection, write()).refused == ()
    assert counts(connection) == [2, 3]


def test_a_view_that_fails_on_a_later_event_is_given_up_and_the_others_go_on(
    write: Write, connection: DuckDBPyConnection
) -> None:
    """Nothing of the row is quoted; with the text mended, the next start builds it again."""
    failing = (
        "select canonical_id, sum(tag[2:]::int) as tags\nfrom scope_events where type = 'tagged' group by canonical_id"
    )
    history = recorded([*tagged(A, A), (B, c.Tagged(occurred_at=EPOCH, actor="user:x", tag="secret"))])
    manifest = MANIFEST.replace("\n[columns]", "personal_inputs = true\n\n[columns]")
    projector = Projector(connection, write(manifest=manifest, query=failing))
    projector.apply(table(history[:2]))
    assert counts(connection) == [1]
    assert projector.apply(table(history)) == 3
    [refusal] = projector.refused
    assert "tag_counts/view.sql" in str(refusal)
    assert "secret" not in str(refusal)
    assert len(connection.execute("from pii.profile").fetchall()) == 2
    assert Projector(connection, write()).refused == ()
    assert counts(connection) == [1, 2]


def test_a_bad_new_view_is_left_out_with_what_rests_on_it(write: Write, connection: DuckDBPyConnection) -> None:
    write(query="select nonsense")
    above = MANIFEST.replace('depends_on = ["identity"]', 'depends_on = ["tag_counts"]')
    projector = Projector(connection, write("above", above, "select canonical_id, tags from tag_counts"))
    assert {refusal.view for refusal in projector.refused} == {"tag_counts", "above"}
    assert projector.apply(table(recorded(tagged(A)))) == 1


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("version = 1\ndescription =\n", r"view.toml:2: "),
        (MANIFEST.replace("version = 1", "version = 0"), r"view.toml:2: version: "),
        (MANIFEST.replace("grain", "grains"), r"view.toml:4: grains: "),
        (MANIFEST.replace('["canonical_id"]\ntypes', '["person"]\ntypes'), "recompute_by"),
        (MANIFEST.replace('["identity"]', '["nobody"]'), "nobody: not there"),
        (MANIFEST.replace('["identity"]', '["tag_counts"]'), "in a circle"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(write: Write, manifest: str, message: str) -> None:
    with pytest.raises(ViewRefused, match=message):
        write(manifest=manifest)


def test_a_manifest_that_breaks_leaves_the_view_as_it_was(
    write: Write, connection: DuckDBPyConnection, tmp_path: Path
) -> None:
    """Found by a node that goes on with the rest: what was kept is kept up, and the refusal names file and line."""
    above = MANIFEST.replace('depends_on = ["identity"]', 'depends_on = ["tag_counts"]')
    query = "select canonical_id, tags from tag_counts where canonical_id in (select canonical_id from scope_persons)"
    write()
    history = recorded(tagged(A, A, B, A))
    Projector(connection, write("above", above, query)).apply(table(history[:2]))
    (tmp_path / "views" / "tag_counts" / "view.toml").write_text("version = \n")
    refused: list[ViewRefused] = []
    views = (*VIEWS, *discover(tmp_path / "views", VIEWS, refused=refused))
    projector = Projector(connection, views, refused=refused)
    assert {error.view for error in projector.refused} == {"tag_counts", "above"}
    assert any("tag_counts/view.toml:1: " in str(error) for error in projector.refused)
    projector.apply(table(history))
    assert counts(connection) == [1, 3]
    assert connection.execute("select tags from above order by tags").fetchall() == [(1,), (3,)]


def test_a_name_is_taken_once(write: Write) -> None:
    with pytest.raises(ViewRefused, match="already"):
        write("profile")


def test_a_plain_view_is_shown_described_and_refused_alike(write: Write, connection: DuckDBPyConnection) -> None:
    plain = MANIFEST.replace('recompute_by = ["canonical_id"]\ntypes = ["tagged"]\n', "").replace("grain", "# grain")
    plain = plain.replace('["identity"]', '["profile"]')
    plain = plain.replace("[columns]", "personal_inputs = true\n[columns]")
    query = "select canonical_id, len(tags) as tags from pii.profile"
    projector = Projector(connection, write(manifest=plain, query=query))
    projector.apply(table(recorded(tagged(A, A, B))))
    assert counts(connection) == [1, 2]
    [refusal] = Projector(
        connection, write(manifest=plain, query="select canonical_id,\nno as tags from pii.profile")
    ).refused
    assert "view.sql:2: " in str(refusal)
    assert counts(connection) == [1, 2]


def test_only_a_changed_definition_is_built_anew_at_start(write: Write, connection: DuckDBPyConnection) -> None:
    Projector(connection, write()).apply(table(recorded(tagged(A, B))))
    built = "select built_at from ops.views where name = ?"
    before = {view.name: connection.execute(built, [view.name]).fetchall() for view in write()}
    described = write(manifest=MANIFEST.replace("How often each", "The number of times each"))
    Projector(connection, described)
    changed = write(query=QUERY.replace("count(*)", "2 * count(*)"))
    assert before == {view.name: connection.execute(built, [view.name]).fetchall() for view in changed}
    Projector(connection, changed)
    assert [n for n, at in before.items() if connection.execute(built, [n]).fetchall() != at] == ["tag_counts"]
    assert counts(connection) == [2, 2]


def test_killed_between_any_two_transactions_of_its_making_a_file_is_whole_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies on the disk after each of them, some by default, is opened as the next start would."""
    path, left = tmp_path / "rapport.duckdb", list[Path]()

    @contextmanager
    def noted(connection: DuckDBPyConnection) -> Iterator[None]:
        with transaction(connection):
            yield
        folder = tmp_path / str(len(left))
        folder.mkdir()
        left.append(folder / path.name)
        for file in (path, path.with_name(path.name + ".wal")):
            if file.exists():
                shutil.copyfile(file, folder / file.name)

    for module in (mirror, computing, installing, rebuilding):
        monkeypatch.setattr(module, "transaction", noted)
    history = recorded(tagged(A, A, B))
    with open_database(path) as connection:
        Projector(connection).apply(table(history))
        whole = contents(connection)
    monkeypatch.undo()
    assert len(left) > 10
    for copy in left[:: 1 if SOAK else 5]:
        with open_database(copy) as connection:
            projector = Projector(connection)
            assert {view.name for view in projector.views} == {view.name for view in VIEWS}
            projector.apply(table(history))
            assert contents(connection) == whole
            assert not connection.execute("from ops.build").fetchall()


# ── builds ─────────────────────────────────────────────────────────────────────────────────────────


class Stopped(Exception):
    """What the test stops a build with."""


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "PART_EVENTS", 4)
    monkeypatch.setattr(rebuilding, "CLOSE_EVENTS", 3)


@pytest.mark.usefixtures("small_parts")
@examples(3)
@given(st.data())
def test_a_build_may_be_stopped_anywhere_while_the_ledger_goes_on(
    database: DuckDBPyConnection, data: st.DataObject
) -> None:
    """Stopped, gone on with, with batches between and meanwhile: what it ends in is what one batch would make."""
    history = data.draw(histories(*anything, merges, pools=True))
    at = sorted(data.draw(st.tuples(*[st.integers(1, len(history))] * 3)))
    projector = fresh(database)
    projector.apply(table(history[: at[0]]))
    steps = iter(data.draw(st.lists(st.booleans(), max_size=30)))

    def stop(_view: str, done: float) -> None:
        if done < 1 and next(steps, False):
            raise Stopped
        if done > 0.5:
            projector.apply(table(history[: at[2]]))

    for until in at[1:]:
        try:
            rebuild(projector, None, stop)
        except Stopped:
            projector.apply(table(history[:until]))
    rebuild(projector)
    projector.apply(table(history))
    found = contents(database)
    assert not database.execute("select table_name from duckdb_tables() where table_name like '%\\_\\_next'").fetchall()
    fresh(database).apply(table(history))
    assert contents(database) == found


@pytest.mark.usefixtures("small_parts")
def test_a_build_goes_on_from_the_part_it_had_reached(database: DuckDBPyConnection) -> None:
    history = recorded(tagged(*[f"{n:032x}" for n in range(40)]))
    projector = fresh(database)
    projector.apply(table(history))
    seen: list[tuple[str, float]] = []

    def stop(view: str, done: float) -> None:
        seen.append((view, done))
        if done > 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        rebuild(projector, None, stop)
    reached = seen[-1][1]
    again: list[float] = []
    rebuild(projector, None, lambda _view, done: again.append(done))
    assert 0.4 < again[0] <= reached, "a part that was stopped half-way is computed again, those before are not"
    assert again == sorted(again)
    assert again[-1] == 1.0


@examples(3)
@given(st.data())
def test_filled_and_settled_is_as_if_applied(database: DuckDBPyConnection, data: st.DataObject) -> None:
    """The mirror may run ahead of the views; killed there, the next start brings them up."""
    history = data.draw(histories(*anything, merges, pools=True))
    projector = fresh(database)
    for start, end in data.draw(cuts(len(history))):
        if data.draw(st.booleans()):
            projector.fill(table(history[start:end]))
            assert projector.mirrored == end
            if data.draw(st.booleans()):
                projector = Projector(database)
                assert projector.checkpoint == end
        else:
            projector.apply(table(history[start:end]))
            assert projector.checkpoint == end
    projector.settle()
    assert projector.checkpoint == projector.mirrored == len(history)
    found = contents(database)
    fresh(database).apply(table(history))
    assert contents(database) == found


@pytest.mark.usefixtures("small_parts")
def test_a_build_left_unfinished_does_not_outlive_a_retry(database: DuckDBPyConnection) -> None:
    """Its finished parts have left out what could not be read then."""
    history = recorded(tagged(*[f"{n:032x}" for n in range(20)]))
    broken = [replace(r, problem="unknown") if r.seq == 3 else r for r in history]
    projector = fresh(database)
    projector.apply(table(broken))

    def stop(_view: str, done: float) -> None:
        if done > 0.8:
            raise Stopped

    with pytest.raises(Stopped):
        rebuild(projector, None, stop)
    projector.retry(table([history[2]]))
    rebuild(projector)
    found = contents(database)
    fresh(database).apply(table(history))
    assert contents(database) == found


def test_what_counts_as_personal_is_what_the_clear_mirror_does_not_show(database: DuckDBPyConnection) -> None:
    columns = "select column_name from duckdb_columns() where schema_name = ? and table_name = 'events'"
    clear, everything = (
        {name for (name,) in database.execute(columns, [schema]).fetchall()} for schema in ("main", "pii")
    )
    assert everything - clear - {"odd_id"} == PERSONAL_COLUMNS
