"""The Merkle tree over the mirror: `domain.merkle` over the hashes of the stored messages, in order of seq.

A leaf's number is the rank of its event among the mirror's rows, for the ledger may have gaps. Kept are the complete
subtrees of heights 8, 16, 24 and so on, in `ops.tree`, as c2sp.org/tlog-tiles cuts a tree; the 256 leaves below one are
read from the mirror itself. What is kept can be made again from the mirror at any time.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
from duckdb import DuckDBPyConnection

from domain import merkle
from projections import sql

STEP = 8
WIDTH = 1 << STEP
"""Nodes of one kept height below a node of the next."""
PART_SEQS = 1 << 16
"""Seqs read in one go while the tree grows."""

_GROWN = pa.schema([("height", pa.uint8()), ("number", pa.int64()), ("hash", pa.binary()), ("last_seq", pa.int64())])


class TreeDamaged(Exception):
    """A node that must be there is not, or an event of the mirror has no hash."""


class Event(NamedTuple):
    """A stored event of a candidate: `hash` is the entry of the log, `body` None once it was purged."""

    seq: int
    id: str
    version: int
    type: str
    recorded_at: datetime
    hash: bytes
    body: bytes | None


def prepare(cursor: DuckDBPyConnection) -> None:
    """Creates the table where there is none."""
    cursor.execute(sql.load(__name__, "schema.sql"))


def is_kept(cursor: DuckDBPyConnection) -> bool:
    """Whether this file has the table."""
    return bool(_rows(cursor, "has_table"))


def events_of(cursor: DuckDBPyConnection, candidate_ids: Sequence[str], known_at: datetime | None) -> list[Event]:
    """Every stored event of these records that the ledger held at `known_at` (None: now), in order of seq."""
    return [Event(*row) for row in _rows(cursor, "events", ids=list(candidate_ids), known_at=known_at)]


class Nodes:
    """The tree as one reading cursor sees it now: calling it gives the hash of a perfect subtree, as `merkle.Perfect`.

    What it has read it keeps, so it is for one question, or a few.
    """

    def __init__(self, cursor: DuckDBPyConnection) -> None:
        self._cursor = cursor
        self._tiles: dict[tuple[int, int], list[bytes]] = {}
        self._seqs: dict[int, list[int]] = {}
        self.blocks, self.last_seq = _rows(cursor, "end")[0]
        """How many nodes of height 8 are kept, and the seq that the last of them ends with."""

    def __call__(self, height: int, number: int) -> bytes:
        """Raises TreeDamaged when something below it is not there."""
        below = height % STEP
        first = number << below
        at, count = first % WIDTH, 1 << below
        nodes = self._tile(height - below, first // WIDTH)[at : at + count]
        if len(nodes) < count:
            raise TreeDamaged(f"the tree lacks what lies below its node {number} at height {height}")
        return merkle.perfect_root(nodes)

    def leaf_of(self, seq: int) -> int:
        """The number of the leaf that stands for the event at `seq`. Raises LookupError when the mirror has none."""
        block: int = _rows(self._cursor, "block_of", seq=seq, blocks=self.blocks)[0][0]
        self._tile(0, block)
        try:
            return block * WIDTH + self._seqs[block].index(seq)
        except ValueError:
            raise LookupError(f"the mirror holds no event at {seq}") from None

    def _tile(self, height: int, number: int) -> list[bytes]:
        """The nodes of a kept height below node `number` of the next, as far as they are there."""
        if (height, number) not in self._tiles:
            if height:
                first = number * WIDTH
                found = _rows(self._cursor, "nodes", height=height, first=first, last=first + WIDTH - 1)
                self._tiles[height, number] = [hash_ for _, hash_, _ in found]
            else:
                entries = self._entries(number)
                self._seqs[number] = [seq for seq, _ in entries]
                self._tiles[0, number] = [merkle.leaf_hash(entry) for _, entry in entries]
        return self._tiles[height, number]

    def _entries(self, block: int) -> list[tuple[int, bytes]]:
        after, until = self.last_seq if block else 0, 1 << 62
        if block < self.blocks:
            ends = {n: last for n, _, last in _rows(self._cursor, "nodes", height=STEP, first=block - 1, last=block)}
            after, until = ends.get(block - 1, 0), ends.get(block, 0)
        return _entries(self._cursor, after, until, WIDTH)


def grow(cursor: DuckDBPyConnection) -> Iterator[int]:
    """Brings the tree up to the mirror's checkpoint, part by part; each yields the size so far, the last one the size.

    Each part is kept as it is done. There is one who calls this at a time. Raises TreeDamaged.
    """
    nodes = Nodes(cursor)
    size = nodes.blocks * WIDTH
    growing = Growing(merkle.Tree(size, merkle.peaks(size, nodes)))
    position, until = nodes.last_seq, _rows(cursor, "until")[0][0]
    while position < until:
        after, position = position, min(position + PART_SEQS, until)
        grown = list(growing.add(_entries(cursor, after, position, PART_SEQS)))
        if grown:
            rows = [dict(zip(_GROWN.names, node, strict=True)) for node in grown]
            cursor.register("grown", pa.Table.from_pylist(rows, schema=_GROWN))
            try:
                _rows(cursor, "insert")
            finally:
                cursor.unregister("grown")
        yield growing.size
    yield growing.size


def forget(cursor: DuckDBPyConnection) -> None:
    """Drops what is kept, for `grow` to make it again."""
    _rows(cursor, "forget")


def mirrored(cursor: DuckDBPyConnection) -> int:
    """How many entries there are."""
    count: int = _rows(cursor, "count")[0][0]
    return count


def root_of_mirror(cursor: DuckDBPyConnection, size: int) -> bytes | None:
    """The root of the first `size` entries, from the mirror alone; None when it holds fewer. Raises TreeDamaged."""
    growing, position, until = Growing(merkle.Tree()), 0, _rows(cursor, "until")[0][0]
    while position < until and growing.size < size:
        after, position = position, min(position + PART_SEQS, until)
        for _ in growing.add(_entries(cursor, after, position, size - growing.size)):
            pass
    return growing.root(size) if growing.size == size else None


class Growing:
    """A tree that entries are added to, and the nodes to keep that they complete."""

    def __init__(self, tree: merkle.Tree) -> None:
        """`tree` ends where a block does."""
        self.tree = tree
        self._waiting: list[tuple[int, bytes]] = []

    @property
    def size(self) -> int:
        """Entries so far."""
        return self.tree.size + len(self._waiting)

    def add(self, entries: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, int, bytes, int]]:
        """Each node that is complete with these entries (seq and hash): height, number, hash, last seq below it."""
        waiting = [*self._waiting, *entries]
        whole = len(waiting) // WIDTH * WIDTH
        self._waiting = waiting[whole:]
        for first in range(0, whole, WIDTH):
            block = waiting[first : first + WIDTH]
            leaves = [merkle.leaf_hash(entry) for _, entry in block]
            for height, number, hash_ in self.tree.append(merkle.perfect_root(leaves), STEP):
                if height % STEP == 0:
                    yield height, number, hash_, block[-1][0]

    def root(self, size: int) -> bytes:
        """The root of the first `size` entries, which end within what waits for its block to be whole."""
        tree = merkle.Tree(self.tree.size, self.tree.peaks)
        for _, entry in self._waiting[: size - tree.size]:
            for _ in tree.append(merkle.leaf_hash(entry)):
                pass
        if tree.size != size:
            raise ValueError(f"the root of {size} entries is not at hand among {self.size}")
        return tree.root()


def kept(cursor: DuckDBPyConnection, height: int, first: int, last: int) -> dict[int, bytes]:
    """The kept nodes of a height, from number `first` to `last`."""
    return {number: hash_ for number, hash_, _ in _rows(cursor, "nodes", height=height, first=first, last=last)}


def _entries(cursor: DuckDBPyConnection, after: int, until: int, most: int) -> list[tuple[int, bytes]]:
    """Seq and hash of the events behind `after`, up to `until`. Raises TreeDamaged where a hash is none."""
    query = sql.load(__name__, "queries/entries.sql")
    # A third of what `fetchall` costs.
    found = cursor.sql(query, params={"after": after, "until": until, "most": most}).to_arrow_table()
    seqs, hashes = found["seq"].to_pylist(), found["hash"].to_pylist()
    if any(hash_ is None for hash_ in hashes):
        raise TreeDamaged(f"the mirror's row of event {seqs[hashes.index(None)]} has no hash")
    return list(zip(seqs, hashes, strict=True))


def _rows(cursor: DuckDBPyConnection, query: str, **parameters: object) -> list[Any]:
    return cursor.execute(sql.load(__name__, f"queries/{query}.sql"), parameters or None).fetchall()
