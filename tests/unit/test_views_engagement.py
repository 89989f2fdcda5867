"""Engagement: what counts, and the score as of any time, against a plain model in Python."""

from datetime import datetime, timedelta
from math import exp
from typing import Any

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from domain.candidate import CandidateEvent, statement
from domain.consent import STATEMENT_TYPES, standing
from domain.engagement import ENGAGEMENT_MODEL
from domain.event import Event
from domain.identity import Forest
from domain.policy import OPEN_TRACKING, Channel
from projections import queries
from tests.unit.histories import (
    EPOCH,
    RECORDED_AT,
    Recorded,
    acts,
    applications,
    clicks,
    examples,
    fresh,
    histories,
    merges,
    recorded,
    statements,
    table,
    tracking,
)
from tests.unit.test_views_identity import forest

MODEL = ENGAGEMENT_MODEL
BURST = timedelta(seconds=2)


def human_touches(records: list[Recorded]) -> list[Recorded]:
    """Opens and clicks that the provider says a person made, and nothing else speaks against."""
    sent = [r.event for r in records if r.event.type in ("emailed", "messaged", "delivered")]
    clicked = [r.event for r in records if r.event.type == "clicked" and r.event.message and r.event.url]
    within = timedelta(seconds=MODEL.machine_within_s)

    def prefetched(event: Any) -> bool:
        return event.message is not None and any(
            s.message == event.message and timedelta(0) <= event.occurred_at - s.occurred_at < within for s in sent
        )

    touches = [r for r in records if r.event.type in ("opened", "clicked") and r.event.machine is False]
    return [r for r in touches if not prefetched(r.event) and not in_a_burst(r.event, clicked)]


def counted(records: list[Recorded], merged: Forest) -> list[Recorded]:
    """The contributions that count, of one person's records."""
    said = [
        statement(r.id, r.event, r.seq, RECORDED_AT)
        for r in records
        if isinstance(r.event, CandidateEvent) and r.event.type in STATEMENT_TYPES
    ]
    human = {r.seq for r in human_touches(records)}
    seen: set[object] = set()
    found = []
    for r in sorted(records, key=lambda r: (r.event.occurred_at, r.seq)):
        event = r.event
        if event.type not in ("opened", "clicked"):
            if MODEL.weight_points.get(event.type):
                found.append(r)
            continue
        at = event.occurred_at
        tracked = event.type == "clicked" or (
            standing(said, Channel.EMAIL, OPEN_TRACKING, at, merged.joined).contactable
        )
        link = (event.type, event.message, event.url if event.type == "clicked" else "")
        if r.seq not in human or not tracked or (None not in link and link in seen):
            continue
        seen.add(link)
        found.append(r)
    return found


def in_a_burst(event: Event, clicked: list[Any]) -> bool:
    """Whether at least three links of its message were followed within two seconds before or after it."""
    if event not in clicked:
        return False
    near = [e for e in clicked if e.message == event.message and abs(e.occurred_at - event.occurred_at) <= BURST]
    return len({e.url for e in near}) >= 3


def raw(contributions: list[Recorded], at: datetime) -> float:
    return sum(
        MODEL.weight_points[r.event.type]
        * 2 ** (-(at - r.event.occurred_at) / timedelta(days=1) / MODEL.half_life_days)
        for r in contributions
        if r.event.occurred_at <= at
    )


def score(contributions: list[Recorded], at: datetime) -> float:
    return max(0.0, 100 * (1 - exp(-raw(contributions, at) / MODEL.saturation_points)))


def test_a_hard_bounce_is_lifted_by_a_later_sign_only(database: DuckDBPyConnection) -> None:
    """Of two at one time the ledger's order says which is later."""
    when = {"occurred_at": EPOCH, "actor": "u"}
    bounced, delivered = c.Bounced.model_validate({**when, "kind": "hard"}), c.Delivered.model_validate(when)
    a, b = "a" * 32, "b" * 32
    fresh(database).apply(table(recorded([(a, delivered), (a, bounced), (b, bounced), (b, delivered)])))
    flags = {row["canonical_id"]: row["flag"] for row in queries.engagement_top(database, EPOCH)}
    assert flags == {a: "hard_bounced", b: None}


@examples(12)
@given(history=histories(acts, acts, clicks, tracking, statements, applications, merges), day=st.integers(0, 60))
def test_the_score_as_of_any_time_is_that_of_the_model(
    database: DuckDBPyConnection, history: list[Recorded], day: int
) -> None:
    """The same contributions count, and the score is their decayed, saturated sum."""
    fresh(database).apply(table(history))
    merged, at = forest(history), EPOCH + timedelta(days=day, seconds=1)
    top = {row["canonical_id"]: row for row in queries.engagement_top(database, at, 1_000)}
    for limit in (1, 2):
        paged: list[str] = []
        while page := queries.engagement_top(database, at, limit, paged[-1] if paged else None):
            paged += [row["canonical_id"] for row in page]
        assert paged == list(top)
    for person in {merged.canonical(r.id) for r in history}:
        expected = counted([r for r in history if merged.canonical(r.id) == person], merged)
        explained = queries.engagement_explain(database, person, at)
        kept = kept_rows(database, person)
        assert_raw_and_previous(kept, expected)
        assert {row["seq"] for row in explained if row["counted"]} == {
            r.seq for r in expected if r.event.occurred_at <= at
        }
        found = queries.engagement_score(database, person, at)
        if found is None:  # a record that nothing but a merge has named
            assert all(r.id != person for r in history)
            continue
        assert found["score"] == pytest.approx(score(expected, at))
        assert found["raw"] == pytest.approx(sum(row["adds"] for row in explained))
        assert top[person] == found
        positive = [r for r in expected if r.event.occurred_at <= at and MODEL.weight_points[r.event.type] > 0]
        assert found["never_engaged"] is (not positive)
        assert found["hard_bounced"] is hard_bounced([r for r in history if merged.canonical(r.id) == person], at)


def kept_rows(database: DuckDBPyConnection, person: str) -> list[dict[str, Any]]:
    query = "select * from engagement_score where canonical_id = ? order by occurred_at, seq"
    return database.sql(query, params=[person]).to_arrow_table().to_pylist()


def assert_raw_and_previous(kept: list[dict[str, Any]], expected: list[Recorded]) -> None:
    """`raw` is the sum up to and with the row, `previous_act_at` the latest act before it."""
    acted = None
    for row in kept:
        until = [r for r in expected if (r.event.occurred_at, r.seq) <= (row["occurred_at"], row["seq"])]
        assert row["raw"] == pytest.approx(raw(until, row["occurred_at"]), abs=1e-7)
        assert row["previous_act_at"] == acted
        assert row["human"] is (row["made_by"] == "human")
        if row["human"] and row["type"] != "opened":
            acted = row["occurred_at"]


def hard_bounced(records: list[Recorded], at: datetime) -> bool:
    past = sorted((r for r in records if r.event.occurred_at <= at), key=lambda r: (r.event.occurred_at, r.seq))
    bounced = False
    for event in (r.event for r in past):
        if event.type == "bounced" and event.kind == "hard":
            bounced = True
        elif event.type in ("delivered", "opened", "clicked", "replied"):
            bounced = False
    return bounced


def test_an_opt_in_on_email_lifts_the_flag_although_other_channels_stay_opted_out(database: DuckDBPyConnection) -> None:
    def at(day: int, cls: type[CandidateEvent], **fields: object) -> CandidateEvent:
        return cls.model_validate({"occurred_at": EPOCH + timedelta(days=day), "actor": "candidate:self"} | fields)

    history = [("a" * 32, e) for e in (at(1, c.Replied), at(2, c.OptedOut), at(3, c.OptedIn, channel=Channel.EMAIL))]
    fresh(database).apply(table(recorded(history)))
    flags = [queries.engagement_score(database, "a" * 32, EPOCH + timedelta(days=d)) for d in (2, 3)]
    assert [f["flag"] for f in flags if f] == ["opted_out", None]


def test_an_act_is_what_a_person_said_or_did(database: DuckDBPyConnection) -> None:
    """Statements and whatever the person entered are acts without points; what others did is none of theirs."""

    def on(day: int, cls: type[CandidateEvent], actor: str = "system:x", **fields: object) -> CandidateEvent:
        return cls.model_validate({"occurred_at": EPOCH + timedelta(days=day), "actor": actor} | fields)

    history = [
        on(0, c.Emailed, "user:x", message="m"),
        on(1, c.Bounced, kind="soft"),
        on(2, c.Opened, machine=True),
        on(3, c.Opened),
        on(4, c.OptedOut),
        on(5, c.ProfileCorrected, "candidate:self", actor_kind="candidate", location="Paris"),
        on(6, c.Tagged, "user:x", tag="go"),
        on(7, c.Complained),
        on(8, c.Applied),
        on(9, c.Rejected, "user:x"),
    ]
    fresh(database).apply(table(recorded([("a" * 32, event) for event in history])))
    found = [(row["type"], row["made_by"], row["points"], row["counted"]) for row in kept_rows(database, "a" * 32)]
    assert found == [
        ("bounced", None, -2, True),
        ("opened", "machine", 1, False),
        ("opened", "unknown", 1, False),
        ("opted_out", "human", 0, False),
        ("profile_corrected", "human", 0, False),
        ("complained", "human", -20, True),
        ("applied", "human", 8, True),
    ]


def test_three_links_of_a_message_within_two_seconds_are_a_scanners(database: DuckDBPyConnection) -> None:
    """Whatever the provider says; two links, or links of two messages, are not."""

    def click(seconds: int, message: str, url: str) -> tuple[str, CandidateEvent]:
        fields = {"message": message, "url": url, "machine": False, "actor": "system:x"}
        return "a" * 32, c.Clicked.model_validate(fields | {"occurred_at": EPOCH + timedelta(seconds=seconds)})

    burst = [click(0, "m1", "a"), click(1, "m1", "b"), click(2, "m1", "c")]
    human = [click(9, "m1", "a"), click(9, "m1", "b"), click(20, "m2", "a"), click(20, "m2", "b"), click(20, "m3", "c")]
    fresh(database).apply(table(recorded([*burst, *human])))
    rows = kept_rows(database, "a" * 32)
    assert [row["made_by"] for row in rows] == ["machine"] * 3 + ["human"] * 5
    assert {row["reason"] for row in rows[:3]} == {"machine: 3 links of one message within 2 s"}
