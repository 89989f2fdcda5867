"""What came of messages and of people, against a plain model in Python."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any
from uuid import UUID

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from domain.candidate import CandidateEvent, statement
from domain.consent import STATEMENT_TYPES, standing
from domain.event import Event
from domain.identity import Forest
from domain.policy import OPEN_TRACKING
from tests.unit.histories import (
    EPOCH,
    RECORDED_AT,
    Recorded,
    acts,
    examples,
    fresh,
    histories,
    merges,
    moments,
    profiles,
    recorded,
    statements,
    table,
    tracking,
)
from tests.unit.test_views_identity import forest

A = "a" * 32
MONTH_LATER = timedelta(days=30)


def _some(cls: type[Event], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    return st.builds(cls, occurred_at=moments, actor=st.just("user:x"), **fields)


_messages, _channels = st.sampled_from([None, "m1", "m2"]), st.sampled_from([None, "email", "linkedin"])
_campaigns = {"campaign": st.sampled_from([None, "spring"]), "purpose": st.sampled_from(["recruiting", "marketing"])}
sendings = st.one_of(
    _some(c.Emailed, message=_messages, **_campaigns), _some(c.Messaged, message=_messages, channel=_channels)
)
answers = st.one_of(
    _some(c.Replied, message=_messages, channel=_channels),
    _some(c.Complained, message=_messages),
    _some(c.Bounced, message=_messages, kind=st.sampled_from(["hard", "soft"])),
    _some(c.Applied),
    _some(c.Hired),
    _some(c.PreferencesUpdated),
)
contacts = (sendings, sendings, answers, acts, acts, statements, tracking, profiles)


@st.composite
def lives(draw: st.DrawFn, *kinds: st.SearchStrategy[Event], **options: Any) -> list[Recorded]:
    """Histories, some of them over a year and not three weeks."""
    slower = draw(st.sampled_from([1, 18]))
    history = draw(histories(*kinds, **options))
    stretched = [EPOCH + (r.event.occurred_at - EPOCH) * slower for r in history]
    moved = [r.event.model_copy(update={"occurred_at": at}) for r, at in zip(history, stretched, strict=True)]
    return [Recorded(r.seq, r.kind, r.id, r.version, event) for r, event in zip(history, moved, strict=True)]


def by_person(history: Sequence[Recorded]) -> dict[str, list[Recorded]]:
    """Each person's events in the order in which they happened."""
    merged = forest(list(history))
    people: dict[str, list[Recorded]] = {}
    for r in sorted((r for r in history if r.kind == "candidate"), key=order):
        people.setdefault(merged.canonical(r.id), []).append(r)
    return people


def order(r: Recorded) -> tuple[datetime, int]:
    return r.event.occurred_at, r.seq


def first_source(events: list[Recorded]) -> str | None:
    return next((r.event.source for r in events if r.event.type == "sourced"), None)


def month(at: datetime) -> date:
    return at.astimezone(UTC).date().replace(day=1)


def about(r: Recorded, sent: list[Recorded], by_people: set[int]) -> Recorded | None:
    """The message that an event is a consequence of."""
    event = r.event
    named = [s for s in sent if s.event.message is not None and s.event.message == getattr(event, "message", None)]
    if event.type in ("delivered", "bounced") or (event.type in ("opened", "clicked") and r.seq in by_people):
        return next((s for s in reversed(named) if order(s) <= order(r)), named[0] if named else None)
    if event.type not in ("replied", "complained", "opted_out"):
        return None
    possible = [
        s
        for s in sent
        if event.occurred_at - s.event.occurred_at <= MONTH_LATER
        and event.channel in (None, s.event.channel)
        and getattr(event, "purpose", None) in (None, s.event.purpose)
    ]
    for among in (named, possible):
        if before := [s for s in among if order(s) < order(r)]:
            return before[-1]
    return None


def tracked(s: Recorded, events: list[Recorded], merged: Forest) -> bool:
    said = [
        statement(r.id, r.event, r.seq, RECORDED_AT)
        for r in events
        if isinstance(r.event, CandidateEvent) and r.event.type in STATEMENT_TYPES
    ]
    return standing(said, s.event.channel, OPEN_TRACKING, s.event.occurred_at, merged.joined).contactable


KINDS = {"delivered": "delivered", "bounced": "bounced", "opened": "human_opens", "clicked": "clicks"}
KINDS |= {"replied": "replies", "opted_out": "opt_outs", "complained": "complaints"}


def campaign_results(history: list[Recorded], by_people: set[int]) -> dict[tuple[Any, ...], Counter[str]]:
    """By campaign, channel, source and month: how many messages each thing happened to."""
    found: dict[tuple[Any, ...], Counter[str]] = {}
    merged = forest(history)
    for events in by_person(history).values():
        sent = [r for r in events if r.event.type in ("emailed", "messaged")]
        came = {(s.seq, KINDS[r.event.type]) for r in events if (s := about(r, sent, by_people)) is not None}
        for s in sent:
            known = [r for r in events if order(r) <= order(s)]
            key = (s.event.campaign, s.event.channel, first_source(known), month(s.event.occurred_at))
            kinds = ["sent", *(kind for seq, kind in came if seq == s.seq)]
            if tracked(s, events, merged):
                kinds += ["tracked", *(["tracked_opens"] if "human_opens" in kinds else [])]
            found.setdefault(key, Counter()).update(kinds)
    return found


RATES = {"contacted": "contact_rate", "replied": "reply_rate", "applied": "application_rate", "hired": "hire_rate"}


def rows(database: DuckDBPyConnection, query: str, *parameters: Any) -> list[dict[str, Any]]:
    database.execute(query, list(parameters))
    names = [column[0] for column in database.description or ()]
    return [dict(zip(names, map(plain, row), strict=True)) for row in database.fetchall()]


def plain(value: Any) -> Any:
    return value.hex if isinstance(value, UUID) else value


@pytest.fixture(autouse=True)
def _as_of_the_end_of_all_histories(database: DuckDBPyConnection) -> Iterator[None]:
    """Made-up lives run on beyond today, which plain views stop at."""
    database.execute("set variable as_of = timestamptz '2100-01-01 00:00:00Z'")
    yield
    database.execute("reset variable as_of")


@examples(4)
@given(history=lives(*contacts, merges))
def test_campaign_results_count_each_message_once_of_each_kind(
    database: DuckDBPyConnection, history: list[Recorded]
) -> None:
    """Whose opens and clicks are a person's is what `engagement_score` says; the rest is told from the events."""
    fresh(database).apply(table(history))
    human = rows(database, "select seq from engagement_score where human and reason <> 'no tracking basis'")
    expected = campaign_results(history, {row["seq"] for row in human})
    found = {
        (row.pop("campaign"), row.pop("channel"), row.pop("source"), row.pop("month")): row
        for row in rows(database, "from campaign_results")
    }
    assert found.keys() == expected.keys()
    for key, row in found.items():
        rate = row.pop("open_rate")
        counted = expected[key]
        assert rate == (counted["tracked_opens"] / counted["tracked"] if counted["tracked"] else None)
        assert row == {name: counted[name] for name in row}


@examples(4)
@given(history=lives(*contacts, merges))
def test_source_results_and_time_to_reply_follow_people_from_their_first_sourcing(
    database: DuckDBPyConnection, history: list[Recorded]
) -> None:
    fresh(database).apply(table(history))
    expected: dict[tuple[Any, ...], Counter[str]] = {}
    days: dict[tuple[Any, ...], list[float]] = {}
    for events in by_person(history).values():
        if not any(r.event.type == "sourced" for r in events):
            continue
        sourced_at = next(r.event.occurred_at for r in events if r.event.type == "sourced")
        key = (first_source(events), month(sourced_at))
        types = {r.event.type for r in events}
        reached = {"contacted": {"emailed", "messaged"}, "replied": {"replied"}}
        reached |= {"applied": {"applied"}, "hired": {"hired"}}
        expected.setdefault(key, Counter()).update(["sourced", *(k for k, t in reached.items() if types & t)])
        replies = [r.event.occurred_at for r in events if r.event.type == "replied"]
        if replies and replies[0] >= sourced_at:
            days.setdefault(key, []).append((replies[0] - sourced_at) / timedelta(days=1))
    results = rows(database, "from source_results")
    assert {(row["source"], row["month"]) for row in results} == expected.keys()
    for row in results:
        counted = expected[row["source"], row["month"]]
        for name, rate in RATES.items():
            assert row[name] == counted[name]
            assert row[rate] == counted[name] / counted["sourced"]
        assert row["sourced"] == counted["sourced"]
    for row in rows(database, "from time_to_reply"):
        took = days.get((row["source"], row["month"]), [])
        assert (row["people"], row["replied"]) == (expected[row["source"], row["month"]]["sourced"], len(took))
        assert row["median_days"] == (pytest.approx(median(took)) if took else None)


@examples(4)
@given(history=lives(*contacts, merges))
def test_reengagement_is_an_act_after_half_a_year_without_one(
    database: DuckDBPyConnection, history: list[Recorded]
) -> None:
    """Opens and machines neither end a silence nor interrupt it."""
    fresh(database).apply(table(history))
    expected = set()
    for person, events in by_person(history).items():
        before = None
        for r in events:
            if not acted(r, database):
                continue
            at = r.event.occurred_at
            if before is not None and at - before >= timedelta(days=180):
                expected.add((person, r.seq, at, r.event.type, before, (at - before).days))
            before = at
    assert {tuple(row.values()) for row in rows(database, "from reengagement")} == expected


ACTS = {"replied", "event_attended", "applied", "preferences_updated", "complained"}
ACTS |= {"opted_out", "opted_in", "consent_given", "consent_withdrawn"}


def acted(r: Recorded, database: DuckDBPyConnection) -> bool:
    """Whether the person did something; whose a click is is what `engagement_score` says."""
    if r.event.type == "clicked":
        return bool(database.execute("select human from engagement_score where seq = ?", [r.seq]).fetchall()[0][0])
    return r.event.type in ACTS


def on(day: float, cls: type[Event], **fields: object) -> tuple[str, Event]:
    return A, cls.model_validate({"occurred_at": EPOCH + timedelta(days=day), "actor": "user:x"} | fields)


def outcome(database: DuckDBPyConnection, *events: tuple[str, Event]) -> dict[int, dict[str, Any]]:
    """The rows of `outreach` by position, times as days since the beginning."""
    fresh(database).apply(table(recorded(events)))
    found = {}
    for row in rows(database, "from outreach"):
        times = {n: v and (v - EPOCH) / timedelta(days=1) for n, v in row.items() if n.endswith("_at")}
        found[row["seq"]] = row | times
    return found


def test_a_reply_that_names_no_message_answers_the_latest_one_of_its_channel(database: DuckDBPyConnection) -> None:
    found = outcome(database, on(1, c.Emailed), on(2, c.Messaged), on(3, c.Replied, channel="email"), on(40, c.Replied))
    assert [found[seq]["replied_at"] for seq in (1, 2)] == [3, None]


def test_a_reply_with_a_name_of_its_own_answers_the_latest_message(database: DuckDBPyConnection) -> None:
    """Some systems name the reply and not what it answers."""
    found = outcome(database, on(1, c.Emailed, message="m1"), on(3, c.Replied, message="<reply@example.com>"))
    assert found[1]["replied_at"] == 3


def test_a_report_dated_before_the_sending_is_about_it_all_the_same(database: DuckDBPyConnection) -> None:
    """The clocks of two systems differ."""
    assert outcome(database, on(1, c.Emailed, message="m"), on(0.9, c.Delivered, message="m"))[1]["delivered_at"] == 0.9


def test_an_opt_out_counts_against_the_last_message_it_is_about_and_no_other(database: DuckDBPyConnection) -> None:
    found = outcome(
        database,
        *(on(1, c.Emailed), on(2, c.Emailed), on(3, c.Emailed, purpose="marketing")),
        *(on(4, c.OptedOut, purpose="recruiting"), on(60, c.OptedOut)),
    )
    assert [found[seq]["opted_out_at"] for seq in (1, 2, 3)] == [None, 4, None]


def test_opens_count_only_where_tracking_had_standing(database: DuckDBPyConnection) -> None:
    allowed = on(2, c.ConsentGiven, purpose="open_tracking")
    opened = [on(n + 0.5, c.Opened, message=f"m{n}", machine=False) for n in (1, 3)]
    found = outcome(database, on(1, c.Emailed, message="m1"), allowed, on(3, c.Emailed, message="m3"), *opened)
    assert [(found[seq]["tracked"], found[seq]["human_opened_at"]) for seq in (1, 3)] == [(False, None), (True, 3.5)]
