"""Which records are one person: merges in force, as a forest."""

from hypothesis import given
from hypothesis import strategies as st

from domain.identity import Edge, Forest

RECORDS = [f"{n}{n}" * 16 for n in "abcdef"]
A, B, C, *_ = RECORDS

edges = st.lists(
    st.tuples(st.sampled_from(RECORDS), st.sampled_from(RECORDS)).filter(lambda pair: pair[0] != pair[1]),
    unique_by=lambda pair: pair[0],
    max_size=6,
).map(lambda pairs: [Edge(duplicate, survivor, seq) for seq, (duplicate, survivor) in enumerate(pairs, start=1)])


def test_two_merges_at_once_in_opposite_directions_leave_the_first() -> None:
    forest = Forest.of([Edge(B, A, 2), Edge(A, B, 1)])
    assert forest.canonical(A) == forest.canonical(B) == B


def test_a_void_edge_comes_alive_when_the_one_before_it_is_undone() -> None:
    assert Forest.of([Edge(B, A, 2)]).canonical(B) == A


def test_records_are_one_person_from_the_last_merge_on_their_path() -> None:
    forest = Forest.of([Edge(B, A, 5), Edge(A, C, 10)])
    assert forest.joined(A, B) == forest.joined(B, A) == 5
    assert forest.joined(B, C) == 10


@given(edges)
def test_every_record_has_one_root_which_stands_for_itself(live: list[Edge]) -> None:
    forest = Forest.of(live)
    for record in RECORDS:
        root = forest.canonical(record)
        assert forest.canonical(root) == root
        assert record in forest.members(record)
        assert forest.members(record) == forest.members(root)


@given(edges)
def test_only_edges_that_would_close_a_cycle_are_void(live: list[Edge]) -> None:
    kept = Forest.of(live).edges
    for edge in live:
        if edge.duplicate not in kept:
            assert Forest(kept).canonical(edge.survivor) == edge.duplicate


@given(edges, st.permutations(range(6)))
def test_the_forest_does_not_depend_on_the_order_in_which_edges_are_given(live: list[Edge], order: list[int]) -> None:
    shuffled = [live[n] for n in order if n < len(live)]
    assert Forest.of(shuffled).edges == Forest.of(live).edges
