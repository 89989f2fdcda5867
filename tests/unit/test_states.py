"""States at hand: bounded, the least recently used go first; and what comes back from JSON is what went in."""

import json
from functools import reduce

from hypothesis import given

from domain import candidate
from domain.candidate import STATE, Candidate, CandidateEvent
from infra.states import States
from tests.golden import states as golden
from tests.unit.histories import CANDIDATES, RECORDED_AT, Recorded, anything, examples, histories


def held(states: States, *ids: str) -> list[str]:
    return [id_ for id_ in ids if states.held([id_])]


def test_no_more_states_are_at_hand_than_allowed() -> None:
    """The one that was not used for longest goes; looking at one is using it."""
    states = States(most=2)
    for id_ in "ab":
        states.keep(Candidate(id_, version=1), states.era)
    assert states.current("a")
    states.keep(Candidate("c", version=1), states.era)
    assert held(states, *"abc") == ["a", "c"]


def test_long_histories_leave_room_for_fewer_states() -> None:
    """Memory is taken by events, not by candidates, so these are bounded, whatever is kept in whatever order."""
    states = States(most=100, most_size=50)
    for n in range(200):
        states.keep(Candidate(str(n % 17), version=1 + n % 13 + n // 17), states.era)
        assert states.size == sum(s.version for s in states.held(str(n) for n in range(17)).values())
        assert states.size <= 50 or len(states) == 1


def test_a_later_state_is_not_replaced_by_an_earlier_one() -> None:
    states = States()
    for version in (2, 1):
        states.keep(Candidate("a", version=version), states.era)
    assert states.current("a")["a"].version == 2


def test_what_was_read_before_a_clearance_is_not_kept_after_it() -> None:
    states = States()
    era = states.era
    states.clear()
    states.keep(Candidate("a", version=1), era)
    assert not states.held("a")


def test_who_was_erased_does_not_come_back_by_a_read_that_began_before() -> None:
    states = States()
    states.keep(Candidate("a", version=1), states.era)
    states.bar("a")
    states.keep(Candidate("a", version=1), states.era)
    assert not states.held("a")


def test_who_cannot_be_read_is_looked_at_again_each_time() -> None:
    """What stood in the way, a damaged key perhaps, may have been put back."""
    states = States()
    states.keep(Candidate("a", version=1, unreadable="a reason"), states.era)
    assert not states.current("a")


def test_a_doubted_state_is_built_upon_but_not_believed() -> None:
    states = States()
    states.keep(Candidate("a", version=1), states.era)
    states.doubt("a")
    assert held(states, "a") and not states.current("a")
    states.keep(Candidate("a", version=2), states.era)
    assert states.current("a")


def folded(history: list[Recorded], state: Candidate) -> Candidate:
    def step(state: Candidate, r: Recorded) -> Candidate:
        assert isinstance(r.event, CandidateEvent)
        return candidate.evolve(state, r.event, r.version, r.seq, RECORDED_AT)

    return reduce(step, [r for r in history if r.id == state.id], state)


@examples(60)
@given(histories(*anything))
def test_a_state_survives_json_and_goes_on_as_if_it_had_never_left(history: list[Recorded]) -> None:
    """State from JSON equals the state, and so does what both become with the events after it."""
    for id_ in CANDIDATES:
        for cut in (len(history) // 2, len(history)):
            state = folded(history[:cut], Candidate(id_))
            back = STATE.validate_json(STATE.dump_json(state, exclude_defaults=True))
            assert back == state
            assert folded(history[cut:], back) == folded(history, Candidate(id_))


def test_the_state_version_is_raised_when_evolve_makes_other_states() -> None:
    """Else snapshots made by older code would be believed. Where this fails, raise STATE_VERSION in
    domain/candidate.py and run `python -m tests.golden.states`."""
    assert golden.states() == json.loads(golden.PATH.read_text("utf-8"))
