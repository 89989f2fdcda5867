"""Plain views that answer for any time: against plain models in Python, and the same later as they answered then."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from projections import queries
from projections.registry import VIEWS
from tests.unit.histories import EPOCH, Recorded, examples, fresh, recorded, table, tags
from tests.unit.test_views_analytics import acted, by_person, contacts, lives, merges, order, rows

DAY = timedelta(days=1)
AS_OF = tuple(view.name for view in VIEWS if not view.stored and "as_of()" in view.query)
anything = (*contacts, tags, tags)
times = st.integers(0, 800).map(lambda day: EPOCH + day * DAY + timedelta(hours=3))


@contextmanager
def as_of(database: DuckDBPyConnection, at: datetime) -> Iterator[None]:
    """Until the block ends, plain views answer for `at`."""
    database.execute(f"set variable as_of = timestamptz '{at.isoformat()}'")
    try:
        yield
    finally:
        database.execute("reset variable as_of")


def answers(database: DuckDBPyConnection, at: datetime) -> dict[str, list[tuple[Any, ...]]]:
    """What each view that looks at `as_of()` says, in an order of its own; fractions to nine digits."""
    with as_of(database, at):
        found = {name: database.execute(f"from {name}").fetchall() for name in AS_OF}
    return {
        name: sorted((tuple(round(v, 9) if isinstance(v, float) else v for v in row) for row in kept), key=repr)
        for name, kept in found.items()
    }


def of_people(database: DuckDBPyConnection, view: str, at: datetime) -> dict[str, dict[str, Any]]:
    with as_of(database, at):
        return {row.pop("canonical_id"): row for row in rows(database, f"from {view}")}


def test_the_views_for_any_time_are_these() -> None:
    assert {"engagement", "contact_pressure", "data_hygiene", "neglected_pools", "pool_members"} <= set(AS_OF)
    assert {"pool_growth", "tag_completeness"} <= set(AS_OF)


@examples(4)
@given(history=lives(*anything, pools=True), data=st.data())
def test_the_answer_for_a_time_stays_when_nothing_arrives_late(
    database: DuckDBPyConnection, history: list[Recorded], data: st.DataObject
) -> None:
    """Events recorded in the order in which they happened, asked half-way and again at the end."""
    in_time = sorted(history, key=order)
    in_time = recorded((r.id, r.event) for r in in_time)
    at = data.draw(st.sampled_from([r.event.occurred_at for r in in_time])) + data.draw(st.sampled_from([0, 5])) * DAY
    projector = fresh(database)
    past = [r for r in in_time if r.event.occurred_at <= at]
    projector.apply(table(past))
    then = answers(database, at)
    if len(past) < len(in_time):
        projector.apply(table(in_time[len(past) :]))
    assert answers(database, at) == then


@examples(4)
@given(history=lives(*anything, merges), at=times)
def test_data_hygiene_says_what_is_missing_and_what_is_old(
    database: DuckDBPyConnection, history: list[Recorded], at: datetime
) -> None:
    fresh(database).apply(table(history))
    expected = {}
    for person, events in by_person(history).items():
        known = [r for r in events if r.event.occurred_at <= at]
        if not known:
            continue
        said = [r.event for r in known if r.event.type in ("sourced", "profile_corrected")]
        tagged = {r.event.tag.strip().lower(): r.event.type for r in known if r.event.type in ("tagged", "untagged")}
        deeds = [r.event.occurred_at for r in known if acted(r, database)]
        changes = [r.event.occurred_at for r in known if r.event.type in PROFILE]
        last = max(known[0].event.occurred_at, *deeds, *changes, EPOCH)
        missing = {
            "missing_role_family": not any(e.role_family for e in said),
            "missing_skills": not any(e.skills for e in said),
            "missing_tags": "tagged" not in tagged.values(),
            "missing_last_interaction": not deeds,
        }
        expected[person] = {
            "hard_bounced": hard_bounced(known),
            "stale": last <= at.replace(year=at.year - 1),
            "complete": not any(missing.values()),
        } | missing
    assert of_people(database, "data_hygiene", at) == expected


PROFILE = ("sourced", "profile_corrected", "tagged", "untagged")


def hard_bounced(events: list[Recorded]) -> bool:
    bounced = False
    for event in (r.event for r in events):
        bounced = (bounced or (event.type == "bounced" and event.kind == "hard")) and event.type not in (
            *("delivered", "opened", "clicked", "replied"),
        )
    return bounced


@examples(4)
@given(history=lives(*anything, merges), at=times)
def test_contact_pressure_counts_messages_and_days(
    database: DuckDBPyConnection, history: list[Recorded], at: datetime
) -> None:
    fresh(database).apply(table(history))
    expected = {}
    for person, events in by_person(history).items():
        known = [r for r in events if r.event.occurred_at <= at]
        touched = [r.event.occurred_at for r in known if r.event.type in ("emailed", "messaged")]
        deeds = [r.event.occurred_at for r in known if acted(r, database)]
        recent = sum(at - sent < 30 * DAY for sent in touched)
        if known:
            expected[person] = {
                "touches_30d": recent,
                "days_since_last_touch": (at - touched[-1]).days if touched else None,
                "days_since_last_act": (at - deeds[-1]).days if deeds else None,
                "over_limit": recent > 4,
            }
    assert of_people(database, "contact_pressure", at) == expected


@examples(4)
@given(history=lives(*anything, merges), at=times)
def test_engagement_has_the_numbers_of_the_score_query(
    database: DuckDBPyConnection, history: list[Recorded], at: datetime
) -> None:
    fresh(database).apply(table(history))
    found = of_people(database, "engagement", at)
    known = {p for p, events in by_person(history).items() if events[0].event.occurred_at <= at}
    scores = {row["canonical_id"]: row for row in queries.engagement_top(database, at, 100)}
    assert found.keys() == known
    for person, row in found.items():
        score = scores[person]
        for name in ("score", "raw"):
            assert row.pop(name) == pytest.approx(score[name], abs=1e-6)
        assert row == {name: score[name] for name in row}


@examples(4)
@given(history=lives(*anything, merges, pools=True), at=times)
def test_pools_are_told_from_who_was_in_when(
    database: DuckDBPyConnection, history: list[Recorded], at: datetime
) -> None:
    """`pool_growth`, `pool_members` and `neglected_pools`, from the intervals of `pool_membership`."""
    fresh(database).apply(table(history))
    spans = rows(database, "from pool_membership")
    people = by_person(history)
    with as_of(database, at):
        growth, members = rows(database, "from pool_growth"), rows(database, "from pool_members")
        neglected = {row.pop("pool_id"): row for row in rows(database, "from neglected_pools")}

    def inside(pool: object, then: datetime) -> list[dict[str, Any]]:
        return [
            s
            for s in spans
            if s["pool_id"] == pool and s["joined_at"] <= then and not (s["left_at"] and s["left_at"] <= then)
        ]

    moved = {
        (s["pool_id"], t.astimezone(UTC).date()) for s in spans for t in (s["joined_at"], s["left_at"]) if t and t <= at
    }
    assert {(row["pool_id"], row["day"]) for row in growth} == moved
    for row in growth:
        begin = datetime.combine(row["day"], time(), UTC)
        end = min(begin + DAY - timedelta(microseconds=1), at)
        of_pool = [s for s in spans if s["pool_id"] == row["pool_id"]]
        departed = sum(s["left_at"] is not None and begin <= s["left_at"] <= end for s in of_pool)
        before = len(inside(row["pool_id"], begin - timedelta(microseconds=1)))
        assert row["joined"] == sum(begin <= s["joined_at"] <= end for s in of_pool)
        assert (row["departed"], row["members"]) == (departed, len(inside(row["pool_id"], end)))
        assert row["churn"] == (departed / before if before else None)
    pools = {s["pool_id"] for s in spans}
    now = [s for pool in pools for s in inside(pool, at)]
    assert sorted((m["canonical_id"], m["joined_at"]) for m in members) == sorted(
        (s["canonical_id"], s["joined_at"]) for s in now
    )
    assert neglected.keys() == {s["pool_id"] for s in now}
    for pool, row in neglected.items():
        sent = [
            r.event.occurred_at
            for s in inside(pool, at)
            for r in people[s["canonical_id"]]
            if r.event.type in ("emailed", "messaged") and s["joined_at"] <= r.event.occurred_at <= at
        ]
        since = max(sent) if sent else min(s["joined_at"] for s in inside(pool, at))
        assert row["members"] == len(inside(pool, at))
        assert row["last_touch_at"] == (max(sent) if sent else None)
        assert (row["days"], row["neglected"]) == ((at - since).days, (at - since).days >= 90)


@examples(4)
@given(history=lives(*anything, merges), at=times)
def test_tag_completeness_looks_at_whoever_changed_in_90_days(
    database: DuckDBPyConnection, history: list[Recorded], at: datetime
) -> None:
    """The people of the sample are as complete as `data_hygiene` finds them."""
    fresh(database).apply(table(history))
    hygiene = of_people(database, "data_hygiene", at)
    expected: dict[tuple[Any, ...], dict[str, int]] = {}
    for person, events in by_person(history).items():
        known = [r for r in events if r.event.occurred_at <= at]
        changed = [r.event.occurred_at for r in known if r.event.type in PROFILE]
        if not changed or at - changed[-1] >= 90 * DAY:
            continue
        source = next((r.event.source for r in known if r.event.type == "sourced"), None)
        row = expected.setdefault((changed[-1].date().replace(day=1), source), dict.fromkeys(COUNTS, 0))
        state = hygiene[person]
        row["people"] += 1
        row["complete"] += state["complete"]
        for name in ("role_family", "skills", "tags", "last_interaction"):
            row[f"with_{name}"] += not state[f"missing_{name}"]
    with as_of(database, at):
        found = {(row.pop("month"), row.pop("source")): row for row in rows(database, "from tag_completeness")}
    assert {key: row.pop("share_complete") for key, row in found.items()} == {
        key: row["complete"] / row["people"] for key, row in expected.items()
    }
    assert found == expected


COUNTS = ("people", "with_role_family", "with_skills", "with_tags", "with_last_interaction", "complete")
