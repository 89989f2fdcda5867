"""What several nodes note of one erasure, put together."""

from datetime import UTC, datetime
from itertools import permutations

from domain.policy import ErasureGround
from infra.erasing import KEYS_DESTROYED, RECORDED, SUPPRESSED, Erasure, Record, _merged

AT = datetime(2026, 3, 1, tzinfo=UTC)
DONE = {RECORDED: AT, SUPPRESSED: AT, KEYS_DESTROYED: AT}
BEGUN = Erasure(
    id="e", candidate_id="a", ground=ErasureGround.OBJECTION, by="user:officer", requested_at=AT, wanted=("a",)
)
RECORDS = (Record(id="a", events=3, erased_seq=9),)


def test_what_was_done_for_fewer_records_does_not_count_for_those_that_came_since() -> None:
    """A node that goes on with what it knew of an erasure takes no step from the one that found a record more."""
    before = BEGUN.model_copy(update={"records": RECORDS, "steps": DONE, "hashes": ("h1",)})
    since = before.model_copy(update={"wanted": ("a", "x"), "round": 1, "steps": {}})
    for kept, ours in permutations((before, since)):
        merged = _merged(kept, ours)
        assert (merged.round, merged.wanted, merged.steps) == (1, ("a", "x"), {})
        assert (merged.records, merged.hashes) == (RECORDS, ("h1",))


def test_what_two_did_in_the_same_round_is_put_together() -> None:
    one = BEGUN.model_copy(update={"steps": {RECORDED: AT}, "hashes": ("h1",)})
    other = BEGUN.model_copy(update={"steps": {RECORDED: AT, SUPPRESSED: AT}, "hashes": ("h2",)})
    for kept, ours in permutations((one, other)):
        merged = _merged(kept, ours)
        assert merged.steps.keys() == {RECORDED, SUPPRESSED}
        assert merged.hashes == ("h1", "h2")
