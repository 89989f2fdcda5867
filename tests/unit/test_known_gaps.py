"""What is known to be gone is no loss; what is not, is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from projections.mirrored import Gap, unknown_gaps

GAPS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 6)), max_size=6).map(
    lambda drawn: sorted((first, first + more) for first, more in drawn)
)


def seqs(gaps: list[Gap]) -> set[int]:
    return {seq for first, last in gaps for seq in range(first, last + 1)}


@given(st.tuples(st.integers(1, 40), st.integers(0, 40)), GAPS)
def test_exactly_the_seqs_that_nobody_knows_of_are_left(gap: tuple[int, int], known: list[Gap]) -> None:
    """As sets of seqs, whatever overlaps whatever; and in order, without empty stretches."""
    stretch = (gap[0], gap[0] + gap[1])
    left = unknown_gaps([stretch], known)
    assert seqs(left) == seqs([stretch]) - seqs(known)
    assert left == sorted(left)
    assert all(first <= last for first, last in left)
