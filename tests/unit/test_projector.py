"""The projector: whole batches or nothing, readers undisturbed, broken events on their own."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from domain import pool as p
from domain.event import Event
from domain.rule import Rule
from infra.duckdb import DatabaseUnreadable, open_database
from projections import BatchOutOfOrder, MirrorOutdated, Projector, ViewRefused, queries, rebuild
from projections.registry import VIEWS, resting_on
from tests.unit.histories import EPOCH, Recorded, anything, contents, examples, fresh, histories, recorded, table
from tests.views import empty_views

A, B, POOL = "a" * 32, "b" * 32, "1" * 32


def day(n: float) -> timedelta:
    return timedelta(days=n)


def on(n: float, cls: type[Event], **fields: object) -> Event:
    return cls.model_validate({"occurred_at": EPOCH + day(n), "actor": "user:x"} | fields)


PEOPLE: list[tuple[str, Event]] = [
    (POOL, on(0, p.Created, name="Pythonistas", rule=Rule.model_validate({"all": [{"tag": "python"}]}))),
    (A, on(0, c.Sourced, source="linkedin", first_name="Ada", identifiers=("email:ada@example.com",))),
    (A, on(1, c.Tagged, tag="Python")),
    (A, on(1, c.BasisRecorded, basis="legitimate_interest", lia="LIA-1")),
    (B, on(0, c.Sourced, source="ats", first_name="Grace")),
    (B, on(2, c.Replied)),
    (B, on(3, c.OptedOut)),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rapport.duckdb"


@pytest.fixture
def projector(path: Path) -> Iterator[Projector]:
    connection = open_database(empty_views(path))
    yield Projector(connection)
    connection.close()


def test_a_batch_is_mirrored_and_seen_in_every_view(projector: Projector) -> None:
    history = recorded(PEOPLE)
    assert projector.apply(table(history)) == projector.checkpoint == len(history)
    cur = projector.cursor()
    assert queries.status(cur)["rows"]["events"] == len(history)
    assert [m["first_name"] for m in queries.members(cur, POOL)] == ["Ada"]
    ada = queries.profile(cur, A)
    assert ada is not None
    assert (ada["tags"], ada["identifiers"]) == (["Python"], ["email:ada@example.com"])
    assert queries.contactability(cur, B, "email", "recruiting")["status"] == "opted_out"
    top = queries.engagement_top(cur, EPOCH + day(4))
    assert [(row["canonical_id"], row["flag"]) for row in top] == [(B, "opted_out"), (A, None)]
    pool = queries.pool_by_name(cur, "pythonistas")
    assert pool is not None
    assert pool["size"] == 1


def test_rows_applied_before_are_passed_over(projector: Projector) -> None:
    history = recorded(PEOPLE)
    projector.apply(table(history[:4]))
    before = contents(projector.connection)
    assert projector.apply(table(history[:4])) == 4
    assert contents(projector.connection) == before
    projector.apply(table(history[2:]))
    assert queries.status(projector.cursor())["rows"]["events"] == len(history)


def test_a_batch_out_of_order_is_refused_whole(projector: Projector) -> None:
    history = recorded(PEOPLE)
    for wrong in ([history[1], history[0]], [history[0], history[0]]):
        with pytest.raises(BatchOutOfOrder):
            projector.apply(table(wrong))
    assert projector.checkpoint == 0


def test_an_error_in_the_middle_leaves_everything_as_it_was(projector: Projector) -> None:
    """A view that cannot be computed takes mirror, other views and checkpoint back with it."""
    history = recorded(PEOPLE)
    projector.apply(table(history[:4]))
    before = contents(projector.connection)
    projector.connection.execute("drop index pii.profile_by_canonical_id")
    projector.connection.execute("alter table pii.profile rename column first_name to given_name")
    with pytest.raises(ViewRefused, match=r"profile/view\.sql"):
        projector.apply(table(history[4:]))
    projector.connection.execute("alter table pii.profile rename column given_name to first_name")
    assert projector.checkpoint == 4
    assert contents(projector.connection) == before
    assert queries.status(projector.cursor())["rows"]["events"] == 4
    assert projector.apply(table(history)) == len(history)


def test_a_broken_event_holds_back_its_candidate_only(projector: Projector) -> None:
    """What came before it counts, what comes after it waits, and others go on."""
    history = recorded(PEOPLE)
    broken = replace(history[4], problem="unknown type 'telepathy'")
    later = recorded([(B, on(5, c.Tagged, tag="python")), (A, on(5, c.Replied))], after=len(history))
    projector.apply(table([*history[:4], broken, *history[5:]]))
    projector.apply(table(later))
    cur = projector.cursor()
    assert queries.profile(cur, B) is None
    assert queries.profile(cur, A)["last_interaction_at"] == EPOCH + day(5)  # type: ignore[index] # it is there
    (letter,) = queries.dead_letters(cur)
    assert (letter["seq"], letter["id"], letter["problem"], letter["waiting"]) == (5, B, "unknown type 'telepathy'", 3)
    assert queries.status(cur)["rows"]["events"] == len(history) + 2
    incremental = contents(projector.connection)
    rebuild(projector)
    assert contents(projector.connection) == incremental


def test_an_opt_out_behind_a_broken_event_counts_at_once(projector: Projector) -> None:
    """The audit passes over nothing: what can be read of a candidate decides whether there may be contact."""
    history = recorded(
        [
            (A, on(1, c.BasisRecorded, basis="legitimate_interest")),
            (A, on(2, c.Tagged, tag="x")),
            (A, on(3, c.OptedOut)),
        ]
    )
    projector.apply(table([history[0], replace(history[1], problem="cannot be read"), history[2]]))
    held = queries.contactability(projector.cursor(), A, "email", "recruiting", EPOCH + day(4))
    assert (held["contactable"], held["because_seq"]) == (False, 3)


def test_a_broken_event_that_can_be_read_again_lets_those_behind_it_count(projector: Projector) -> None:
    """After a retry every view is as if nothing had ever been broken, merges that waited included."""
    history = recorded([*PEOPLE, (B, on(4, c.Merged, into=A)), (A, on(5, c.Replied))])
    projector.apply(table(history))
    expected = contents(projector.connection)
    fresh(projector.connection)
    projector = Projector(projector.connection)
    projector.apply(table([replace(r, problem="cannot be read") if r.seq in (1, 5) else r for r in history]))
    assert contents(projector.connection) != expected
    with pytest.raises(ValueError, match="dead letters"):
        projector.retry(table(history[:2]))
    projector.retry(table([history[0], history[4]]))
    assert contents(projector.connection) == expected
    assert queries.status(projector.cursor())["rows"]["events"] == len(history) == projector.checkpoint
    assert queries.dead_letters(projector.cursor()) == []


def test_events_whose_key_is_destroyed_are_still_counted(projector: Projector) -> None:
    history = [replace(r, key_destroyed=True) for r in recorded(PEOPLE)]
    projector.apply(table(history))
    found = queries.profile(projector.cursor(), A)
    assert found is not None
    assert (found["first_name"], found["tags"], found["events"]) == (None, [], 3)


def test_a_merge_takes_the_rows_of_the_duplicate_with_it(projector: Projector) -> None:
    """No row stays under the record that no longer stands for the person, nor under the survivor when it is undone."""
    merged: list[tuple[str, Event]] = [(B, on(4, c.Merged, into=A)), (B, on(5, c.Tagged, tag="sql"))]
    history = recorded([*PEOPLE, *merged, (B, on(6, c.Unmerged, into=A))])
    for batch in (history[:-3], history[-3:-2], history[-2:-1], history[-1:]):
        projector.apply(table(batch))
        incremental = contents(projector.connection)
        rebuild(projector)
        assert contents(projector.connection) == incremental
    assert queries.canonical(projector.cursor(), B) == B


@examples(4)
@given(history=histories(*anything[:-1], pools=True, max_size=25), pair=st.permutations([A, B, "c" * 32]))
def test_a_merge_undone_leaves_no_trace(database: DuckDBPyConnection, history: list[Recorded], pair: list[str]) -> None:
    """Merged and unmerged again, two records are what they were, in every view."""
    duplicate, survivor, _ = pair
    both = {duplicate, survivor}
    known = [(id_, on(0, c.Sourced)) for id_ in sorted(both)]
    history = recorded([*known, *((r.id, r.event) for r in history)])
    seq = history[-1].seq
    projector = fresh(database)
    projector.apply(table(history))
    before = contents(database)
    merged = recorded([(duplicate, on(0, c.Merged, into=survivor))], after=seq)
    projector.apply(table(merged))
    assert queries.canonical(database, duplicate) == survivor
    projector.apply(table(recorded([(duplicate, on(0, c.Unmerged, into=survivor))], after=seq + 1)))
    after = contents(database)
    assert {name: _without_counts(rows, name) for name, rows in after.items()} == {
        name: _without_counts(rows, name) for name, rows in before.items()
    }


def _without_counts(rows: list[tuple[object, ...]], name: str) -> list[tuple[object, ...]]:
    """The number of a person's events does count the merge and its undoing."""
    return [row[:-1] for row in rows] if "profile" in name else rows


def test_a_reader_sees_whole_batches_and_blocks_nobody(projector: Projector) -> None:
    """A transaction opened before a batch sees none of it, also while views are rebuilt."""
    history = recorded(PEOPLE)
    projector.apply(table(history[:4]))
    reader = projector.cursor()
    reader.begin()
    assert len(queries.pools(reader)) == 1
    before = contents(reader)
    projector.apply(table(history[4:]))
    rebuild(projector)
    assert contents(reader) == before
    reader.commit()
    assert contents(reader) == contents(projector.connection) != before


def test_whoever_waits_is_woken_when_the_position_is_reached(projector: Projector) -> None:
    history = recorded(PEOPLE)
    answers: list[bool] = []
    waiter = threading.Thread(target=lambda: answers.append(projector.wait_for(len(history), 30)))
    waiter.start()
    assert projector.wait_for(1, 0.01) is False
    projector.apply(table(history))
    waiter.join(30)
    assert answers == [True]


def test_a_rebuild_tells_its_progress_and_can_be_cancelled(projector: Projector) -> None:
    projector.apply(table(recorded(PEOPLE)))
    told: list[tuple[str, float]] = []
    audit = next(view for view in VIEWS if view.name == "gdpr_audit")
    rebuild(projector, "gdpr_audit", lambda name, done: told.append((name, done)))
    assert {name for name, _ in told} == {*(view.name for view in resting_on(audit, VIEWS) if view.stored), "identity"}
    assert {"gdpr_audit", "engagement_score", "pool_membership", "profile"} <= {name for name, _ in told}
    before = contents(projector.connection)

    def cancel(name: str, done: float) -> None:
        if name == "profile":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(projector, None, cancel)
    assert contents(projector.connection) == before
    with pytest.raises(KeyError):
        rebuild(projector, "horoscope")


def test_a_view_whose_definition_changed_is_built_anew_at_start(path: Path) -> None:
    connection = open_database(path)
    Projector(connection).apply(table(recorded(PEOPLE)))
    expected = contents(connection)
    connection.execute("delete from gdpr_audit")
    connection.execute("update ops.views set definition = 'older' where name = 'gdpr_audit'")
    connection.close()
    connection = open_database(path)
    Projector(connection)
    assert contents(connection) == expected
    connection.close()


def test_a_mirror_of_another_version_is_refused(path: Path) -> None:
    connection = open_database(path)
    Projector(connection)
    connection.execute("update ops.views set version = 0 where name = 'mirror'")
    with pytest.raises(MirrorOutdated):
        Projector(connection)
    connection.close()


def test_a_file_that_is_no_database_is_refused_in_a_sentence(path: Path) -> None:
    path.write_text("not a database, whatever its name says" * 200)
    with pytest.raises(DatabaseUnreadable, match="cannot be read"):
        open_database(path)


def test_sql_on_the_database_reaches_no_other_file(projector: Projector) -> None:
    with pytest.raises(duckdb.PermissionException):
        projector.cursor().execute("select * from read_csv('/etc/passwd')")
