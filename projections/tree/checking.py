"""The tree against the mirror: what is kept of it, and what was signed over it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from duckdb import DuckDBPyConnection

from domain.checkpoint import Checkpoint
from domain.merkle import Tree
from projections import tree
from projections.tree import STEP, WIDTH, Growing


class Disagreement(NamedTuple):
    """Something kept or signed that the entries from `first_seq` to `last_seq` do not lead to."""

    first_seq: int
    last_seq: int
    detail: str


class Checking:
    """Computes the whole tree anew from the entries it is given, in order, and compares."""

    def __init__(self, cursor: DuckDBPyConnection, signed: Checkpoint | None = None) -> None:
        """Compares with what `cursor` sees of the kept tree, if there is one, and with `signed`, if that is given."""
        self._cursor = cursor
        self._signed = signed
        self._growing = Growing(Tree())
        self._kept = tree.Nodes(cursor).blocks if tree.is_kept(cursor) else 0
        self._last_seq = 0
        self._ended: dict[int, int] = {}  # with which seq the last node of each height did

    def add(self, entries: Sequence[tuple[int, bytes]]) -> Iterator[Disagreement]:
        """The next entries, seq and hash. Yields what they show."""
        signed = self._signed.size if self._signed is not None else 0
        before = self._growing.size
        if before < signed <= before + len(entries):
            yield from self._add(entries[: signed - before])
            yield from self._compare_root()
            entries = entries[signed - before :]
        yield from self._add(entries)

    def end(self) -> Iterator[Disagreement]:
        """What shows when there are no more entries."""
        if self._signed is not None and self._growing.size < self._signed.size:
            detail = f"the last checkpoint covers {self._signed.size:,} events, the mirror holds {self._growing.size:,}"
            yield Disagreement(1, self._last_seq, detail)

    def _add(self, entries: Sequence[tuple[int, bytes]]) -> Iterator[Disagreement]:
        first = self._growing.size // WIDTH
        grown = list(self._growing.add(entries))
        kept = tree.kept(self._cursor, STEP, first, first + len(grown)) if self._kept and grown else {}
        for height, number, hash_, last_seq in grown:
            first_seq, self._ended[height] = self._ended.get(height, 0) + 1, last_seq
            if (number + 1) << height > self._kept << STEP:
                continue
            there = kept if height == STEP else tree.kept(self._cursor, height, number, number)
            if there.get(number) != hash_:
                detail = f"the tree kept beside the mirror has another node {number} at height {height}, or none"
                yield Disagreement(first_seq, last_seq, detail)
        if entries:
            self._last_seq = entries[-1][0]

    def _compare_root(self) -> Iterator[Disagreement]:
        signed = self._signed
        if signed is not None and self._growing.root(signed.size) != signed.root:
            detail = f"the mirror's first {signed.size:,} events do not have the root of the last signed checkpoint"
            yield Disagreement(1, self._last_seq, detail)
