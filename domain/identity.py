"""Which records are one person: the merges and unmerges in force, as a forest.

Every record points at no more than one other ("merged into"). Edges count in ledger order; an edge that would
close a cycle is void while the others stand (two recruiters merging A into B and B into A at once), so the
first wins and nothing is lost. The forest is a pure function of the live edges: undoing an edge restores
exactly what was there without it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Edge:
    """A live merge: `duplicate` was merged into `survivor` by the event at `seq`."""

    duplicate: str
    survivor: str
    seq: int


@dataclass(frozen=True)
class Forest:
    """Live merges, cycles removed."""

    edges: Mapping[str, Edge]

    @staticmethod
    def of(live: Iterable[Edge]) -> "Forest":
        """The forest of the live edges, at most one a duplicate."""
        kept: dict[str, Edge] = {}
        for edge in sorted(live, key=lambda e: e.seq):
            if _root(kept, edge.survivor) != edge.duplicate:
                kept[edge.duplicate] = edge
        return Forest(kept)

    def canonical(self, candidate_id: str) -> str:
        """The record that stands for the person."""
        return _root(self.edges, candidate_id)

    @cached_property
    def _members(self) -> Mapping[str, frozenset[str]]:
        groups = defaultdict(set)
        for record in {r for e in self.edges.values() for r in (e.duplicate, e.survivor)}:
            groups[self.canonical(record)].add(record)
        return {root: frozenset(records) for root, records in groups.items()}

    def members(self, candidate_id: str) -> frozenset[str]:
        """Every record of the person that `candidate_id` is a record of, itself included."""
        return self._members.get(self.canonical(candidate_id), frozenset({candidate_id}))

    def joined(self, a: str, b: str) -> int:
        """The ledger position from which two records of one person are one: the last edge on the path.

        Raises LookupError when they are not records of one person.
        """
        above_a, above_b = self._above(a), self._above(b)
        shared = [max(above_a[n], above_b[n]) for n in above_a.keys() & above_b.keys()]
        if not shared:
            raise LookupError(f"{a} and {b} are not merged")
        return min(shared)

    def _above(self, record: str) -> dict[str, int]:
        """Each record from `record` to its root, with the highest edge on the way there."""
        found, highest = {record: 0}, 0
        while edge := self.edges.get(record):
            record, highest = edge.survivor, max(highest, edge.seq)
            found[record] = highest
        return found


def _root(edges: Mapping[str, Edge], record: str) -> str:
    while edge := edges.get(record):
        record = edge.survivor
    return record
