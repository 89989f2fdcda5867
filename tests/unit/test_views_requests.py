"""Data subjects' requests: the view and the domain have one rule for deadlines and states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import example, given
from hypothesis import strategies as st

from domain import candidate as c
from domain.event import Event
from domain.identity import Edge, Forest
from domain.policy import RequestKind, RequestOutcome
from domain.request import due_at
from projections import queries
from tests.unit.histories import CANDIDATES, RECORDED_AT, Recorded, examples, fresh, recorded, table

START = datetime(2023, 1, 1, tzinfo=UTC)
EARLY = datetime(1990, 1, 1, tzinfo=UTC)
moments = st.builds(
    lambda day, s: START + timedelta(days=day, seconds=s), st.integers(0, 2400), st.sampled_from([0, 1, 86_399])
)
BASE = [(id_, c.Sourced(occurred_at=START, actor="user:x", source="import")) for id_ in CANDIDATES]


@contextmanager
def as_of(database: DuckDBPyConnection, at: datetime) -> Iterator[None]:
    database.execute("set variable as_of = $1::timestamptz", [at])
    try:
        yield
    finally:
        database.execute("reset variable as_of")


@st.composite
def matters(draw: st.DrawFn) -> list[tuple[str, Event]]:
    """Requests on a few records, whose events arrive in any order that the write side takes, with merges between."""
    events: list[tuple[str, Event]] = list(BASE)
    for number in range(draw(st.integers(1, 5))):
        who, request = draw(st.sampled_from(CANDIDATES)), f"{number:032x}"
        asks_for, at = draw(st.sampled_from(RequestKind)), draw(moments)
        own: list[Event] = [c.RequestReceived(occurred_at=at, actor="user:x", request=request, asks_for=asks_for)]
        if draw(st.booleans()):
            own.append(c.RequestExtended(occurred_at=draw(moments), actor="user:x", request=request, reason="number"))
        if draw(st.booleans()):
            outcome = draw(st.sampled_from(RequestOutcome))
            own.append(
                c.RequestClosed(
                    occurred_at=draw(moments), actor="user:x", request=request, outcome=outcome, explanation="because"
                )
            )
        if draw(st.booleans()):
            own.insert(0, c.Merged(occurred_at=START, actor="user:x", into=draw(st.sampled_from(CANDIDATES))))
        events += [(who, event) for event in own]
    return events


def by_the_domain(history: list[Recorded], at: datetime) -> dict[str, tuple[Any, ...]]:
    """What `domain.candidate` makes of everything that counted by then."""
    states = {id_: c.Candidate(id_) for id_ in CANDIDATES}
    edges: dict[str, Edge] = {}
    for r in history:
        recorded_at = RECORDED_AT + timedelta(seconds=r.seq)
        if isinstance(r.event, c.Merged):
            edges[r.id] = Edge(r.id, r.event.into, r.seq)
        elif isinstance(r.event, c.CandidateEvent) and min(r.event.occurred_at, recorded_at) <= at:
            states[r.id] = c.evolve(states[r.id], r.event, r.version, r.seq, recorded_at)
    forest = Forest.of(edges.values())
    return {
        request.id: (
            forest.canonical(id_),
            id_,
            request.asks_for,
            request.received_at,
            request.due_at,
            "closed" if request.closed else "overdue" if request.due_at <= at else "open",
        )
        for id_, state in states.items()
        for request in state.requests
    }


@examples(15)
@given(events=matters(), at=moments)
def test_the_view_says_what_the_domain_says_as_of_any_moment(
    database: DuckDBPyConnection, events: list[tuple[str, Event]], at: datetime
) -> None:
    """Person, record, kind, deadline and state, for every request."""
    history = recorded(events)
    fresh(database).apply(table(history))
    with as_of(database, at):
        rows = queries.rows(
            database,
            "requests",
            "list",
            states=[],
            asks_for=None,
            canonical_id=None,
            after_due_at=None,
            after_seq=None,
            limit=100,
        )
    columns = ("canonical_id", "candidate_id", "asks_for", "received_at", "due_at", "state")
    assert {row["request_id"]: tuple(row[name] for name in columns) for row in rows} == by_the_domain(history, at)
    assert [row["due_at"] for row in rows] == sorted(row["due_at"] for row in rows)


@examples(15)
@given(received_at=st.integers(0, 40_000_000).map(lambda minute: EARLY + timedelta(minutes=minute)), extended=...)
@example(received_at=datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC), extended=False)
@example(received_at=datetime(2026, 11, 30, tzinfo=UTC), extended=True)
@example(received_at=datetime(2026, 12, 31, 12, tzinfo=UTC), extended=False)
def test_deadlines_in_sql_and_in_the_domain_end_on_the_same_midnight(
    database: DuckDBPyConnection, received_at: datetime, extended: bool
) -> None:
    """For any moment, the ends of months and leap years among them. At that midnight the time is over."""
    who, request = CANDIDATES[0], "1" * 32
    events: list[tuple[str, Event]] = [
        (who, c.Sourced(occurred_at=EARLY, actor="user:x", source="import")),
        (who, c.RequestReceived(occurred_at=received_at, actor="user:x", request=request, asks_for="access")),
    ]
    if extended:
        told = c.RequestExtended(occurred_at=received_at, actor="user:x", request=request, reason="number")
        events.append((who, told))
    fresh(database).apply(table(recorded(events)))
    due = due_at(received_at, extended=extended)
    for at, state in ((due - timedelta(microseconds=1), "open"), (due, "overdue")):
        with as_of(database, at):
            assert database.execute("select due_at, state from requests").fetchall() == [(due, state)]


def test_a_request_does_not_wait_behind_a_broken_event(database: DuckDBPyConnection) -> None:
    who = CANDIDATES[0]
    asked = c.RequestReceived(occurred_at=START, actor="user:x", request="1" * 32, asks_for=RequestKind.ACCESS)
    broken = c.Tagged(occurred_at=START, actor="user:x", tag="t")
    history = recorded([*BASE, (who, broken), (who, asked)])
    history[-2] = Recorded(**{**history[-2].__dict__, "problem": "broken"})
    fresh(database).apply(table(history))
    assert database.execute("select state from requests").fetchall() == [("overdue",)]


@pytest.mark.parametrize("ahead_days", [0, 1])
def test_a_request_dated_ahead_is_there_as_soon_as_it_is_known(database: DuckDBPyConnection, ahead_days: int) -> None:
    known_at = RECORDED_AT + timedelta(seconds=len(BASE) + 1)
    at = known_at + timedelta(days=ahead_days)
    asked = c.RequestReceived(occurred_at=at, actor="user:x", request="1" * 32, asks_for=RequestKind.ERASURE)
    fresh(database).apply(table(recorded([*BASE, (CANDIDATES[0], asked)])))
    for then, there in ((known_at - timedelta(seconds=1), []), (known_at, [("open", due_at(at))])):
        with as_of(database, then):
            assert database.execute("select state, due_at from requests").fetchall() == there
