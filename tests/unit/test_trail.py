"""A consent trail: two clocks, merges, and the promise that an answer given once can be given again."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain import candidate
from domain.candidate import CandidateEvent
from domain.event import Recorded
from domain.trail import Trail, trail

A, B = "aa" * 16, "bb" * 16
T0 = datetime(2026, 1, 1, tzinfo=UTC)
END = T0 + timedelta(days=400)
TYPES: list[tuple[str, dict[str, Any]]] = [
    ("consent_given", {}),
    ("consent_given", {"expires_at": T0 + timedelta(days=9)}),
    ("consent_withdrawn", {}),
    ("opted_out", {"channel": "email"}),
    ("opted_in", {"channel": "email"}),
    ("basis_recorded", {"basis": "legitimate_interest"}),
    ("tagged", {"tag": "python"}),
]


def day(n: float) -> datetime:
    return T0 + timedelta(days=n)


def recorded(
    seq: int, type_: str, record: str = A, occurred: float | None = None, **data: Any
) -> Recorded[CandidateEvent]:
    """Event `seq`, taken by the ledger on day `seq`, which happened on that day or on day `occurred`."""
    event = candidate.EVENTS[type_](occurred_at=day(seq if occurred is None else occurred), actor="user:1", **data)
    return Recorded(record, seq, seq, day(seq), event)


def statuses(found: Trail) -> dict[str, str]:
    return {f"{c.channel.value if c.channel else '*'}/{c.purpose}": str(s.status) for c, s in found.standing}


def test_each_step_shows_the_state_it_led_to() -> None:
    history = [recorded(1, "consent_given"), recorded(2, "opted_out", channel="email"), recorded(3, "tagged", tag="x")]
    found = trail(A, [history], END)
    assert [s.recorded.event.type for s in found.steps] == ["consent_given", "opted_out"]
    assert [[str(held.status) for _, held in step.state] for step in found.steps] == [
        ["consent", "consent"],
        ["opted_out", "consent"],
    ]


def test_what_happened_later_is_not_in_a_trail_as_of_before() -> None:
    history = [recorded(1, "consent_given"), recorded(5, "consent_withdrawn")]
    assert statuses(trail(A, [history], day(4))) == {"*/recruiting": "consent"}
    assert statuses(trail(A, [history], day(6))) == {"*/recruiting": "withdrawn"}


def test_an_opt_out_that_arrived_late_stands_where_it_happened_and_is_unknown_before_it_arrived() -> None:
    history = [recorded(1, "consent_given"), recorded(10, "opted_out", occurred=2)]
    assert statuses(trail(A, [history], day(5)))["*/recruiting"] == "opted_out"
    assert statuses(trail(A, [history], day(5), known_at=day(9)))["*/recruiting"] == "consent"
    assert [s.recorded.seq for s in trail(A, [history], END).steps] == [1, 10]


def test_a_merge_made_later_is_unknown_before_it_was_made() -> None:
    ours = [recorded(1, "consent_given")]
    other = [recorded(2, "opted_out", B), recorded(5, "merged", B, into=A)]
    merged = trail(A, [ours, other], END)
    assert merged.records == (A, B)
    assert statuses(merged)["*/recruiting"] == "opted_out"
    before = trail(A, [ours, other], END, known_at=day(4))
    assert before.records == (A,)
    assert statuses(before)["*/recruiting"] == "consent"


def test_a_merge_undone_leaves_the_record_as_it_was_and_the_time_in_between_can_be_replayed() -> None:
    ours = [recorded(1, "consent_given")]
    other = [recorded(2, "opted_out", B), recorded(5, "merged", B, into=A), recorded(8, "unmerged", B, into=A)]
    assert statuses(trail(A, [ours, other], END))["*/recruiting"] == "consent"
    assert statuses(trail(A, [ours, other], END, known_at=day(6)))["*/recruiting"] == "opted_out"


def test_a_trail_before_the_first_event_is_empty() -> None:
    found = trail(A, [[recorded(1, "consent_given")]], day(0))
    assert found.steps == ()
    assert statuses(found) == {"*/recruiting": "no_basis"}


events = st.lists(
    st.tuples(st.sampled_from(TYPES), st.sampled_from([A, B]), st.integers(0, 20)), min_size=1, max_size=15
)


@given(events, st.integers(0, 15), st.integers(0, 20), st.booleans())
def test_an_answer_given_once_can_be_given_again(
    drawn: list[tuple[tuple[str, dict[str, Any]], str, int]], known: int, as_of: int, merged: bool
) -> None:
    """The trail as of T that anybody saw on day K is what the ledger answers later for known at K."""
    history = [
        recorded(seq, type_, record, occurred, **data)
        for seq, ((type_, data), record, occurred) in enumerate(drawn, start=1)
    ]
    if merged:
        history.append(recorded(len(history) + 1, "merged", B, into=A))
    seen_then = trail(A, [[r for r in history if r.seq <= known]], day(as_of))
    asked_later = trail(A, [history], day(as_of), known_at=day(known))
    assert (seen_then.steps, seen_then.standing, seen_then.records) == (
        asked_later.steps,
        asked_later.standing,
        asked_later.records,
    )
