"""Standing: the rule, its laws, and what a merge does to it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.consent import STATEMENT_TYPES, Standing, Statement, effective_at, now_of, standing
from domain.identity import Edge, Forest
from domain.policy import Basis, Channel

T0 = datetime(2026, 1, 1, tzinfo=UTC)
EMAIL, PHONE = Channel.EMAIL, Channel.PHONE
LI = Basis.LEGITIMATE_INTEREST
A, B = "aa" * 16, "bb" * 16


def day(n: float) -> datetime:
    return T0 + timedelta(days=n)


def said(seq: int, type_: str, **fields: object) -> Statement:
    values = {"candidate_id": A, "occurred_at": day(seq), "purpose": None} | fields
    return Statement(seq=seq, type=type_, **values)  # type: ignore[arg-type] # a table of test values


def ask(
    *statements: Statement, channel: Channel | None = EMAIL, purpose: str = "recruiting", at: float = 100
) -> Standing:
    return standing(statements, channel, purpose, day(at))


def test_nobody_may_be_contacted_without_a_basis() -> None:
    assert ask() == Standing(False, "no_basis", None)


def test_a_basis_permits_and_says_which() -> None:
    assert ask(said(1, "basis_recorded", basis=Basis.LEGITIMATE_INTEREST)) == Standing(True, "legitimate_interest", 1)


def test_a_basis_of_consent_without_a_consent_does_not_permit() -> None:
    assert ask(said(1, "basis_recorded", basis=Basis.CONSENT)) == Standing(False, "consent_missing", 1)


def test_consent_permits_until_it_expires() -> None:
    given_ = said(1, "consent_given", purpose="recruiting", expires_at=day(10))
    assert ask(given_, at=9.9) == Standing(True, "consent", 1)
    assert ask(given_, at=10) == Standing(False, "expired", 1)


def test_a_withdrawal_stands_although_another_basis_was_recorded() -> None:
    statements = [
        said(1, "consent_given"),
        said(2, "consent_withdrawn"),
        said(3, "basis_recorded", basis=Basis.CONTRACT),
    ]
    assert ask(*statements) == Standing(False, "withdrawn", 2)
    assert ask(*statements, said(4, "consent_given")) == Standing(True, "consent", 4)


def test_an_opt_out_stands_against_consent_until_an_opt_in() -> None:
    statements = [said(1, "opted_out"), said(2, "consent_given")]
    assert ask(*statements) == Standing(False, "opted_out", 1)
    assert ask(*statements, said(3, "opted_in")) == Standing(True, "consent", 2)


def test_a_spam_complaint_is_an_opt_out_on_its_channel() -> None:
    statements = [said(1, "consent_given"), said(2, "complained", channel=EMAIL)]
    assert ask(*statements) == Standing(False, "opted_out", 2)
    assert ask(*statements, channel=PHONE) == Standing(True, "consent", 1)


def test_an_opt_in_on_one_channel_leaves_the_others_opted_out() -> None:
    statements = [said(1, "consent_given"), said(2, "opted_out"), said(3, "opted_in", channel=EMAIL)]
    assert ask(*statements).contactable
    assert ask(*statements, channel=PHONE) == Standing(False, "opted_out", 2)
    assert ask(*statements, channel=None) == Standing(False, "opted_out", 2)


def test_what_happened_later_does_not_count_as_of_before() -> None:
    statements = [said(1, "consent_given"), said(5, "opted_out")]
    assert ask(*statements, at=4).contactable
    assert not ask(*statements, at=5).contactable


def test_an_opt_out_recorded_late_counts_from_when_it_happened() -> None:
    late = said(9, "opted_out", occurred_at=day(2))
    assert ask(said(1, "consent_given"), late, at=3) == Standing(False, "opted_out", 9)


class TestMerged:
    """B was merged into A by event 50."""

    forest = Forest.of([Edge(B, A, 50)])

    def ask(self, *statements: Statement) -> Standing:
        return standing(statements, EMAIL, "recruiting", day(200), self.forest.joined)

    def test_the_most_restrictive_of_two_records_wins(self) -> None:
        consent = said(10, "consent_given", candidate_id=A)
        out = said(5, "opted_out", candidate_id=B)
        assert self.ask(consent, out) == Standing(False, "opted_out", 5)

    def test_an_opt_in_before_the_merge_does_not_reach_the_other_record(self) -> None:
        statements = [said(5, "opted_out", candidate_id=B), said(10, "opted_in", candidate_id=A)]
        assert self.ask(*statements).status == "opted_out"

    def test_an_opt_in_after_the_merge_counts_for_the_whole_person(self) -> None:
        statements = [
            said(3, "consent_given", candidate_id=A),
            said(5, "opted_out", candidate_id=B),
            said(60, "opted_in", candidate_id=A),
        ]
        assert self.ask(*statements) == Standing(True, "consent", 3)


moments = st.integers(0, 12).map(day)
statements_ = st.builds(
    Statement,
    candidate_id=st.sampled_from([A, B]),
    seq=st.integers(1, 99),
    occurred_at=moments,
    type=st.sampled_from(sorted(STATEMENT_TYPES)),
    channel=st.sampled_from([None, EMAIL, PHONE]),
    purpose=st.sampled_from([None, "recruiting", "open_tracking"]),
    basis=st.sampled_from(list(Basis)),
    expires_at=st.none() | moments,
)
histories = st.lists(statements_, max_size=12, unique_by=lambda s: s.seq)


@given(histories, moments)
def test_no_history_with_an_unanswered_opt_out_permits_contact(history: list[Statement], at: datetime) -> None:
    """Whatever else was said: an opt-out covering the cell, and no opt-in after it, means no."""
    history = [s for s in history if s.type != "opted_in"]
    covering = [
        s
        for s in history
        if s.type in ("opted_out", "complained")
        and s.occurred_at <= at
        and s.channel in (None, EMAIL)
        and s.purpose in (None, "recruiting")
    ]
    forest = Forest.of([Edge(B, A, 50)])
    if covering:
        assert not standing(history, EMAIL, "recruiting", at, forest.joined).contactable


@given(histories, moments)
def test_after_a_merge_nothing_is_permitted_that_a_record_alone_forbids(history: list[Statement], at: datetime) -> None:
    """Merged after everything was said, the person may be contacted only if no record alone says a clear no."""
    forest = Forest.of([Edge(B, A, 100)])
    alone = [standing([s for s in history if s.candidate_id == c], EMAIL, "recruiting", at) for c in (A, B)]
    merged = standing(history, EMAIL, "recruiting", at, forest.joined)
    if any(s.status in ("opted_out", "withdrawn") for s in alone):
        assert not merged.contactable


@given(histories.flatmap(lambda h: st.tuples(st.just(h), st.permutations(h))), moments)
def test_standing_does_not_depend_on_the_order_in_which_statements_are_given(
    orders: tuple[list[Statement], list[Statement]], at: datetime
) -> None:
    forest = Forest.of([Edge(B, A, 50)])
    one, other = (standing(order, EMAIL, "recruiting", at, forest.joined) for order in orders)
    assert one == other


def test_what_is_said_holds_as_soon_as_it_is_known() -> None:
    """A local time sent as UTC puts an opt-out hours ahead; it holds from when the ledger took it."""
    ahead, taken = day(2), day(1)
    for type_ in STATEMENT_TYPES:
        assert effective_at(type_, ahead, taken) == taken
        assert effective_at(type_, taken, ahead) == taken
    assert effective_at("emailed", ahead, taken) == ahead


@pytest.mark.parametrize(
    ("back", "against"),
    [
        ("opted_in", "opted_out"),
        ("opted_in", "complained"),
        ("consent_given", "consent_withdrawn"),
        ("restriction_lifted", "restricted"),
    ],
)
def test_a_permission_dated_ahead_does_not_undo_what_was_said_and_recorded_after_it(back: str, against: str) -> None:
    """An opt-in whose time is two hours ahead, and a click on unsubscribe before these are over."""
    hour = timedelta(hours=1)
    told = [("basis_recorded", day(0), day(0)), (against, day(1) - hour, day(1) - hour), (back, day(1) + hour, day(1))]
    told.append((against, day(1) + hour / 2, day(1) + hour / 2))
    statements = [
        said(seq, type_, occurred_at=effective_at(type_, at, recorded), basis=LI if type_ == "basis_recorded" else None)
        for seq, (type_, at, recorded) in enumerate(told)
    ]
    assert not standing(statements, EMAIL, "recruiting", day(9)).contactable


def test_a_clock_that_is_behind_the_ledgers_does_not_miss_what_it_holds() -> None:
    """Asked about now by a node that is ten minutes behind the server that took an opt-out."""
    statements = [said(0, "basis_recorded", basis=LI), said(5, "opted_out")]
    behind = day(5) - timedelta(minutes=10)
    assert standing(statements, EMAIL, "recruiting", behind).contactable
    assert not standing(statements, EMAIL, "recruiting", now_of(statements, behind)).contactable
    assert now_of(statements, day(6)) == day(6)


def test_lifting_one_restriction_leaves_that_of_another_request() -> None:
    """Also of one that names no request; a lifting that names none is of all."""
    one, other = "1" * 32, "2" * 32
    basis = said(0, "basis_recorded", basis=LI)
    held = [basis, said(1, "restricted", request=one), said(2, "restricted", request=other)]
    unnamed = [basis, said(1, "restricted", request=one), said(2, "restricted")]
    assert standing([*unnamed, said(3, "restriction_lifted", request=one)], EMAIL, "x", day(9)).status == "restricted"
    assert standing([*unnamed, said(3, "restriction_lifted")], EMAIL, "x", day(9)).contactable
    for lifted, status in ((one, "restricted"), (other, "restricted"), (None, LI)):
        now = standing([*held, said(3, "restriction_lifted", request=lifted)], EMAIL, "recruiting", day(9))
        assert now.status == status
    both = [said(3, "restriction_lifted", request=one), said(4, "restriction_lifted", request=other)]
    assert standing([*held, *both], EMAIL, "recruiting", day(9)).contactable


def test_a_consent_that_was_over_when_it_was_given_answers_nothing() -> None:
    held = [said(0, "basis_recorded", basis=LI), said(1, "consent_withdrawn")]
    over = said(2, "consent_given", expires_at=day(1))
    assert standing([*held, over], EMAIL, "recruiting", day(9)).status == "withdrawn"


def test_a_consent_that_was_over_when_it_was_given_takes_the_place_of_one_without_end() -> None:
    """So a system tells that one has expired."""
    held = [said(0, "consent_given"), said(2, "consent_given", expires_at=day(1))]
    assert standing(held, EMAIL, "recruiting", day(9)) == Standing(False, "expired", 2)


def test_at_the_same_moment_the_word_against_contact_wins_whatever_arrived_first() -> None:
    for out, back in ((1, 2), (2, 1)):
        said_at_once = [
            said(0, "consent_given"),
            said(out, "opted_out", occurred_at=day(5)),
            said(back, "opted_in", occurred_at=day(5)),
        ]
        assert ask(*said_at_once).status == "opted_out"
