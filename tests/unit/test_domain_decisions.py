"""Decisions at the door: what is refused, what is recorded whatever we think of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain import candidate, errors, pool
from domain.candidate import Candidate, CandidateEvent
from domain.consent import Standing
from domain.policy import ActorKind
from domain.request import due_at
from domain.rule import Rule

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
A, B = "aa" * 16, "bb" * 16
RULE = Rule.model_validate({"all": [{"tag": "python"}]})
ENVELOPE: dict[str, Any] = {"occurred_at": NOW, "actor": "user:1"}


def _event(type_: str, **fields: Any) -> CandidateEvent:
    return candidate.EVENTS[type_](**({"occurred_at": NOW, "actor": "user:1", "interaction": f"i-{type_}"} | fields))


def _state(id_: str, *events: CandidateEvent) -> Candidate:
    state = Candidate(id_)
    for event in events:
        state = candidate.evolve(state, event, state.version + 1, state.version + 1, NOW)
    return state


def test_the_same_interaction_is_recorded_once() -> None:
    tagged = _event("tagged", tag="python")
    assert candidate.decide(_state(A), tagged, now=NOW) == (tagged,)
    assert candidate.decide(_state(A, tagged), tagged, now=NOW) == ()


@pytest.mark.parametrize(("ahead", "refused"), [(timedelta(hours=23), False), (timedelta(hours=25), True)])
def test_a_time_more_than_24_hours_ahead_is_refused(ahead: timedelta, refused: bool) -> None:
    event = _event("tagged", tag="python", occurred_at=NOW + ahead)
    if refused:
        with pytest.raises(errors.OccurredInFuture):
            candidate.decide(_state(A), event, now=NOW)
    else:
        assert candidate.decide(_state(A), event, now=NOW) == (event,)


@pytest.mark.parametrize("type_", ["emailed", "messaged"])
def test_an_intended_contact_without_standing_is_refused_with_the_deciding_event(type_: str) -> None:
    no = Standing(False, "opted_out", 41)
    with pytest.raises(errors.NotContactable, match=r"opted_out \(event 41\)"):
        candidate.decide(_state(A), _event(type_), now=NOW, standing=no)
    assert candidate.decide(_state(A), _event(type_), now=NOW, standing=Standing(True, "consent", 3))


def test_a_reported_contact_is_recorded_whatever_the_standing() -> None:
    assert candidate.decide(_state(A), _event("emailed"), now=NOW, standing=None)
    assert candidate.decide(_state(A), _event("opened"), now=NOW, standing=Standing(False, "opted_out", 41))


@pytest.mark.parametrize("type_", ["applied", "stage_changed", "rejected", "hired", "preferences_updated"])
def test_an_application_and_preferences_are_facts(type_: str) -> None:
    """Recorded whatever the standing, in whatever order they are reported; they change nothing decisions rest on."""
    event = _event(type_, **({"stage": "interview"} if type_ == "stage_changed" else {}))
    assert candidate.decide(Candidate(A), event, now=NOW, standing=Standing(False, "opted_out", 41)) == (event,)
    known = _state(A, _event("sourced"))
    after = candidate.evolve(known, event, 2, 2, NOW)
    assert candidate.decide(after, event, now=NOW) == ()
    assert after == replace(known, version=2, seq=2, interactions=after.interactions)


def test_an_opt_in_on_somebodys_behalf_needs_evidence() -> None:
    with pytest.raises(errors.OptInWithoutEvidence):
        candidate.decide(_state(A), _event("opted_in"), now=NOW)
    assert candidate.decide(_state(A), _event("opted_in", evidence="form 12"), now=NOW)
    by_person = _event("opted_in", actor="candidate:self", actor_kind=ActorKind.CANDIDATE)
    assert candidate.decide(_state(A), by_person, now=NOW)


class TestMerge:
    known = _state(A, _event("sourced"))
    other = _state(B, _event("sourced"))

    def test_a_merge_is_one_event_on_the_duplicate(self) -> None:
        merged = _event("merged", into=B)
        assert candidate.decide(self.known, merged, now=NOW, survivor=self.other) == (merged,)

    def test_merging_into_itself_is_refused(self) -> None:
        with pytest.raises(errors.MergeRefused, match="itself"):
            candidate.decide(self.known, _event("merged", into=A), now=NOW, survivor=self.known)

    def test_merging_into_an_unknown_candidate_is_refused(self) -> None:
        with pytest.raises(errors.MergeRefused, match="not known"):
            candidate.decide(self.known, _event("merged", into=B), now=NOW, survivor=Candidate(B))

    def test_merging_into_a_merged_away_candidate_is_refused_and_says_where_it_went(self) -> None:
        away = _state(B, _event("sourced"), _event("merged", into="cc" * 16))
        with pytest.raises(errors.MergeRefused, match="cc" * 16):
            candidate.decide(self.known, _event("merged", into=B), now=NOW, survivor=away)

    def test_merging_twice_is_refused_until_unmerged(self) -> None:
        merged = _state(A, _event("sourced"), _event("merged", into=B))
        again = _event("merged", into=B, interaction="again")
        with pytest.raises(errors.MergeRefused, match="unmerge it first"):
            candidate.decide(merged, again, now=NOW, survivor=self.other)
        undone = candidate.evolve(merged, _event("unmerged", into=B), 3, 3, NOW)
        assert candidate.decide(undone, again, now=NOW, survivor=self.other)

    def test_unmerging_what_is_not_merged_is_refused(self) -> None:
        with pytest.raises(errors.MergeRefused, match="nothing to undo"):
            candidate.decide(self.known, _event("unmerged", into=A), now=NOW)

    def test_unmerging_from_somebody_else_is_refused(self) -> None:
        merged = _state(A, _event("sourced"), _event("merged", into=B))
        with pytest.raises(errors.MergeRefused, match=B):
            candidate.decide(merged, _event("unmerged", into="cc" * 16), now=NOW)


class TestPool:
    def _created(self) -> pool.Pool:
        return pool.evolve(pool.Pool(A), pool.Created(**ENVELOPE, name="P", rule=RULE), 1)

    def test_a_name_is_taken_once(self) -> None:
        with pytest.raises(errors.PoolRefused, match="exists already"):
            pool.decide(self._created(), pool.Created(**ENVELOPE, name="P"), now=NOW)

    def test_the_same_rule_again_changes_nothing(self) -> None:
        assert pool.decide(self._created(), pool.RuleChanged(**ENVELOPE, rule=RULE), now=NOW) == ()

    def test_an_archived_pool_takes_no_more_changes(self) -> None:
        archived = pool.evolve(self._created(), pool.Archived(**ENVELOPE), 2)
        assert pool.decide(archived, pool.Archived(**ENVELOPE), now=NOW) == ()
        with pytest.raises(errors.PoolRefused, match="archived"):
            pool.decide(archived, pool.CandidatePinned(**ENVELOPE, candidate=A), now=NOW)

    def test_an_unknown_pool_takes_nothing(self) -> None:
        with pytest.raises(errors.UnknownPool):
            pool.decide(pool.Pool(A), pool.Archived(**ENVELOPE), now=NOW)


def test_one_id_for_several_statements_swallows_none_of_them() -> None:
    """A form that takes back contact by email and by SMS, or for two purposes, is told as two records of one id."""
    about = [{"channel": "email"}, {"channel": "sms"}, {"purpose": "newsletter"}, {"purpose": "recruiting"}]
    said = [_event("opted_out", **one) for one in about]
    state = _state(A)
    for event in said:
        assert candidate.decide(state, event, now=NOW) == (event,)
        state = candidate.evolve(state, event, state.version + 1, state.version + 1, NOW)
        assert candidate.decide(state, event, now=NOW) == ()
    assert len(state.statements) == len(about)


def test_one_id_for_restrictions_of_two_requests_swallows_neither() -> None:
    state = _state(A)
    for request in ("1" * 32, "2" * 32):
        event = _event("restricted", ground="accuracy_contested", request=request)
        assert candidate.decide(state, event, now=NOW) == (event,)
        state = candidate.evolve(state, event, state.version + 1, state.version + 1, NOW)
    elsewhere = event.model_copy(update={"channel": "email"})
    assert candidate.decide(state, elsewhere, now=NOW) == (), "it is of all use, whatever channel it came by"


def test_a_word_against_contact_that_was_recorded_of_every_purpose_by_a_star_counts() -> None:
    """Such events were recorded before the door read it."""
    event = _event("opted_out").model_copy(update={"purpose": "*"})
    (said,) = _state(A, event).statements
    assert said.purpose is None


@pytest.mark.parametrize(("type_", "back"), [("opted_out", "opted_in"), ("restricted", "restriction_lifted")])
def test_what_is_told_again_holds_until_it_is_taken_back(type_: str, back: str) -> None:
    """However often it is told, as of whatever time, and by whatever channel it came."""
    hour = timedelta(hours=1)
    ground = {"ground": "accuracy_contested"} if type_ == "restricted" else {}
    said = _event(type_, channel="email", **ground)
    answer = _event(back, occurred_at=NOW + hour, channel="email", interaction="other")
    state = candidate.evolve(Candidate(A), answer, 1, 1, NOW + hour)

    def told(hours: int) -> CandidateEvent:
        return said.model_copy(update={"occurred_at": NOW + hours * hour})

    assert not candidate.is_told(state, told(2)), "what was taken back had not been said here"
    state = candidate.evolve(state, told(2), 2, 2, NOW + 2 * hour)
    assert candidate.is_told(state, told(3))
    assert [candidate.still_holds([state], told(hours)) for hours in (0, 1, 2, 3)] == [True] * 4
    again = answer.model_copy(update={"occurred_at": NOW + 4 * hour})
    state = candidate.evolve(state, again, 3, 3, NOW + 4 * hour)
    assert [candidate.still_holds([state], told(hours)) for hours in (3, 4, 5)] == [True, False, False]


def test_what_was_taken_back_since_it_was_recorded_is_said_anew() -> None:
    """By when it held, which is not when it claimed to have been said, where that lay ahead."""
    hour = timedelta(hours=1)
    said, back = _event("opted_out", occurred_at=NOW + 2 * hour), _event("opted_in", occurred_at=NOW + hour)
    state = candidate.evolve(_state(A, said), back, 2, 2, NOW + hour)
    told = [said.model_copy(update={"occurred_at": NOW + hours * hour}) for hours in (0.5, 1.5)]
    assert [candidate.still_holds([state], event) for event in told] == [True, False]


def test_more_time_is_taken_only_while_there_is_some() -> None:
    """Art. 12(3) GDPR: the person is told within the first month."""
    state = _state(A, _event("request_received", request="1" * 32, asks_for="access"))
    late = _event("request_extended", request="1" * 32, reason="number", occurred_at=NOW + timedelta(days=75))
    with pytest.raises(errors.RequestRefused, match="within the first month"):
        candidate.decide(state, late, now=late.occurred_at)
    (kept,) = candidate.evolve(state, late, 2, 2, late.occurred_at).requests
    assert kept.due_at == due_at(NOW), "one that is in the ledger all the same gives no time"
    in_time = late.model_copy(update={"occurred_at": NOW + timedelta(days=20)})
    assert candidate.decide(state, in_time, now=in_time.occurred_at) == (in_time,)
    (kept,) = candidate.evolve(state, in_time, 2, 2, in_time.occurred_at).requests
    assert kept.due_at == due_at(NOW, extended=True)
