"""When a refusal on a cluster is final."""

import pytest

from infra.jetstream.batch import leaves_doubt
from infra.jetstream.replies import ApiError


@pytest.mark.parametrize(
    ("code", "description", "expected", "doubt"),
    [
        (10071, "wrong last sequence: 8", 7, False),  # every leader holds at least 8
        (10071, "wrong last sequence: 6", 7, True),  # this one lacks what was acknowledged
        (10071, "wrong last sequence: 8", None, True),  # of a batch: which subject is meant is not said
        (10164, "wrong last sequence", 7, True),
        (10176, "atomic publish batch is incomplete", None, True),
        (10008, "JetStream system temporarily unavailable", 7, True),
        (10077, "maximum bytes exceeded", 7, False),
    ],
)
def test_a_refusal_is_final_only_when_no_leader_can_think_otherwise(
    code: int, description: str, expected: int | None, doubt: bool
) -> None:
    """After a partition heals, the first answer may be that of a leader that is none any more."""
    assert leaves_doubt(ApiError(code, description), expected) is doubt
