"""Engagement: what counts, and the score as of any time, against a plain model in Python."""

from datetime import datetime, timedelta
from math import exp

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from domain.candidate import CandidateEvent, statement
from domain.consent import STATEMENT_TYPES, standing
from domain.identity import Forest
from domain.policy import ENGAGEMENT_MODEL, MACHINE_OPEN_WITHIN_S, OPEN_TRACKING, Channel
from projections import queries
from tests.unit.histories import (
    EPOCH,
    RECORDED_AT,
    Recorded,
    acts,
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


def counted(records: list[Recorded], merged: Forest) -> list[Recorded]:
    """The contributions that count, of one person's records."""
    said = [
        statement(r.id, r.event, r.seq, RECORDED_AT)
        for r in records
        if isinstance(r.event, CandidateEvent) and r.event.type in STATEMENT_TYPES
    ]
    sent = [r.event for r in records if r.event.type in ("emailed", "messaged", "delivered")]
    seen: set[object] = set()
    found = []
    for r in sorted(records, key=lambda r: (r.event.occurred_at, r.seq)):
        event = r.event
        if event.type in ("opened", "clicked"):
            within = timedelta(seconds=MACHINE_OPEN_WITHIN_S)
            prefetched = event.message and any(
                s.message == event.message and timedelta(0) <= event.occurred_at - s.occurred_at < within for s in sent
            )
            if event.machine is not False or prefetched:
                continue
            at = event.occurred_at
            if (
                event.type == "opened"
                and not standing(said, Channel.EMAIL, OPEN_TRACKING, at, merged.joined).contactable
            ):
                continue
            link = (event.type, event.message, event.url if event.type == "clicked" else "")
            if None not in link and link in seen:
                continue
            seen.add(link)
            found.append(r)
        elif event.type in MODEL.weight_points:
            found.append(r)
    return found


def score(contributions: list[Recorded], at: datetime) -> float:
    raw = sum(
        MODEL.weight_points[r.event.type]
        * 2 ** (-(at - r.event.occurred_at) / timedelta(days=1) / MODEL.half_life_days)
        for r in contributions
        if r.event.occurred_at <= at
    )
    return max(0.0, 100 * (1 - exp(-raw / MODEL.saturation_points)))


def test_a_hard_bounce_is_lifted_by_a_later_sign_only(database: DuckDBPyConnection) -> None:
    """Of two at one time the ledger's order says which is later."""
    when = {"occurred_at": EPOCH, "actor": "u"}
    bounced, delivered = c.Bounced.model_validate({**when, "kind": "hard"}), c.Delivered.model_validate(when)
    a, b = "a" * 32, "b" * 32
    fresh(database).apply(table(recorded([(a, delivered), (a, bounced), (b, bounced), (b, delivered)])))
    flags = {row["canonical_id"]: row["flag"] for row in queries.engagement_top(database, EPOCH)}
    assert flags == {a: "hard_bounced", b: None}


@examples(12)
@given(history=histories(acts, acts, acts, tracking, statements, merges), day=st.integers(0, 60))
def test_the_score_as_of_any_time_is_that_of_the_model(
    database: DuckDBPyConnection, history: list[Recorded], day: int
) -> None:
    """The same contributions count, and the score is their decayed, saturated sum."""
    fresh(database).apply(table(history))
    merged, at = forest(history), EPOCH + timedelta(days=day, seconds=1)
    top = {row["canonical_id"]: row for row in queries.engagement_top(database, at)}
    for person in {merged.canonical(r.id) for r in history}:
        expected = counted([r for r in history if merged.canonical(r.id) == person], merged)
        explained = queries.engagement_explain(database, person, at)
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
