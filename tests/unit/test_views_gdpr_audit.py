"""Standing in SQL equals `domain.consent.standing`."""

from datetime import datetime, timedelta
from typing import Any

from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain.candidate import CandidateEvent, ConsentGiven, OptedOut, statement
from domain.consent import STATEMENT_TYPES, Standing, Statement, standing
from domain.identity import Forest
from projections import queries
from tests.unit.histories import (
    CHANNELS,
    EPOCH,
    PURPOSES,
    RECORDED_AT,
    UNHEARD,
    Recorded,
    Taken,
    examples,
    fresh,
    histories,
    merges,
    recorded,
    restrictions,
    statements,
    table,
    taken,
)
from tests.unit.test_views_identity import forest

QUESTIONS = [(channel, purpose) for channel in (*CHANNELS, UNHEARD[0]) for purpose in (*PURPOSES, UNHEARD[1])]


@examples(12)
@given(
    happened=histories(statements, statements, restrictions, statements, merges),
    asked=st.sampled_from(QUESTIONS),
    begin=st.sampled_from([RECORDED_AT, EPOCH + timedelta(days=5)]),
)
def test_standing_equals_the_rule_in_python(
    database: DuckDBPyConnection, happened: list[Recorded], asked: tuple[str | None, str], begin: datetime
) -> None:
    """Answer, status and deciding event are the same at any time, for channels and purposes named or not, whether
    statements are dated ahead or not."""
    history = taken(happened, begin)
    fresh(database).apply(table(history))
    merged = forest(history)
    for person in {merged.canonical(r.id) for r in history}:
        said = statements_of(person, history, merged)
        trail = queries.trail(database, person)
        for at in {moment for s in said for moment in (s.occurred_at, s.expires_at, EPOCH) if moment is not None}:
            for channel, purpose in QUESTIONS:
                expected = standing(said, channel, purpose, at, merged.joined)
                assert answer(trail, channel, purpose, at) == expected, (at, channel, purpose)
            expected = standing(said, *asked, at, merged.joined)
            found = queries.contactability(database, person, *asked, at)
            assert Standing(found["contactable"], found["status"], found["because_seq"]) == expected


def statements_of(person: str, history: list[Taken], merged: Forest) -> list[Statement]:
    return [
        statement(r.id, r.event, r.seq, r.recorded_at)
        for r in history
        if isinstance(r.event, CandidateEvent) and r.event.type in STATEMENT_TYPES and merged.canonical(r.id) == person
    ]


def answer(trail: list[dict[str, Any]], channel: str | None, purpose: str, at: datetime) -> Standing:
    """The row in force for the cell, a row that names channel and purpose before one that stands for the rest."""
    rows = [
        row
        for row in trail
        if row["channel"] in (channel, "*")
        and row["purpose"] in (purpose, "*")
        and row["valid_from"] <= at
        and (row["valid_to"] is None or at < row["valid_to"])
    ]
    if not rows:
        return Standing(False, "no_basis", None)
    row = min(rows, key=lambda row: (row["channel"] == "*", row["purpose"] == "*"))
    return Standing(row["contactable"], row["status"], row["because_seq"])


@examples(4)
@given(history=histories(statements, merges))
def test_a_row_carries_the_evidence_of_the_event_that_decides(
    database: DuckDBPyConnection, history: list[Recorded]
) -> None:
    """Each interval's evidence is that of the event it names; an interval begins with a statement or an expiry."""
    fresh(database).apply(table(history))
    by_seq = {r.seq: r for r in history}
    for person in {r.id for r in history}:
        for row in queries.trail(database, person):
            if row["changed_seq"] is not None:
                assert by_seq[row["changed_seq"]].event.occurred_at == row["valid_from"]
            if row["because_seq"] is not None:
                because = by_seq[row["because_seq"]]
                assert (row["candidate_id"], row["type"]) == (because.id, because.event.type)
                for field in ("basis", "lia", "notice_version", "expires_at"):
                    assert row[field] == getattr(because.event, field, None)


def test_an_opt_out_of_every_purpose_by_a_star_counts(database: DuckDBPyConnection) -> None:
    """As it does in `domain.candidate.statement`: such events were recorded before the door read it."""
    given_ = ConsentGiven.model_validate({"actor": "candidate:self", "occurred_at": EPOCH})
    said = {"actor": "candidate:self", "occurred_at": EPOCH + timedelta(hours=1), "purpose": "*"}
    fresh(database).apply(table(recorded([("a" * 32, given_), ("a" * 32, OptedOut.model_validate(said))])))
    at = EPOCH + timedelta(hours=2)
    assert queries.contactability(database, "a" * 32, "email", "recruiting", at)["status"] == "opted_out"


def test_an_opt_out_dated_ahead_holds_from_when_it_was_recorded(database: DuckDBPyConnection) -> None:
    """The same in SQL as in `domain.consent.effective_at`."""
    ahead = {"actor": "candidate:self", "occurred_at": RECORDED_AT + timedelta(hours=20)}
    given_ = ConsentGiven.model_validate({"actor": "candidate:self", "occurred_at": EPOCH})
    history = recorded([("a" * 32, given_), ("a" * 32, OptedOut.model_validate(ahead))])
    fresh(database).apply(table(history))
    asked = [RECORDED_AT - timedelta(hours=1), RECORDED_AT + timedelta(hours=1)]
    found = [queries.contactability(database, "a" * 32, "email", "recruiting", at)["status"] for at in asked]
    assert found == ["consent", "opted_out"]
