"""The mirror as evidence: what the ledger held, to compare it with and to restore it from. Each takes a reading cursor.

A name is an aggregate's, such as `candidate-9f…`; times are microseconds since 1970.
"""

from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from duckdb import DuckDBPyConnection

from projections import sql


class Extent(NamedTuple):
    """How much the mirror holds: up to which seq, of how many events; and the rows and last seq found in it."""

    checkpoint: int
    events: int
    rows: int
    last_seq: int


class Entry(NamedTuple):
    """What the mirror knows of one event. `intact`: its body still has the hash noted beside it. `is_bare`: there is no
    body, as of one that was purged.
    """

    seq: int
    name: str
    version: int
    type: str
    recorded_at_us: int
    hash: bytes
    intact: bool
    is_bare: bool


class Columns(NamedTuple):
    """The ledger's messages as the mirror says they were, a list of each kind in the mirror's order.

    A subject is None where the body does not begin with what is noted beside it, or the aggregate is none of ours.
    """

    seqs: Sequence[int]
    recorded_at_us: Sequence[int]
    subjects: Sequence[str | None]
    hashes: Sequence[bytes]
    bodies: Sequence[bytes | None]

    @property
    def bare(self) -> set[int]:
        """The seqs of which there is no body."""
        return {seq for seq, body in zip(self.seqs, self.bodies, strict=True) if body is None}

    def only(self, seqs: Collection[int]) -> "Columns":
        """What there is of these, in order of seq."""
        rows = sorted((row for row in zip(*self, strict=True) if row[0] in seqs), key=itemgetter(0))
        return Columns(*(list(column) for column in zip(*rows, strict=True))) if rows else Columns([], [], [], [], [])


class Body(NamedTuple):
    """One event to put back; `body` None where it was purged."""

    seq: int
    name: str
    recorded_at_us: int
    hash: bytes
    body: bytes | None


class Jump(NamedTuple):
    """An event whose version does not follow the one before it in its aggregate."""

    seq: int
    name: str
    version: int
    type: str
    version_before: int


class Census(NamedTuple):
    """How many events, and of how many candidates."""

    events: int
    candidates: int


class Place(NamedTuple):
    """Of an event whose bytes are gone, or are to go: its aggregate and its hash."""

    name: str
    hash: bytes


Gap = tuple[int, int]
"""First and last seq of a stretch, both included."""


def extent(cur: DuckDBPyConnection) -> Extent:
    """How much there is."""
    return Extent(*_rows(cur, "extent")[0])


def entries(cur: DuckDBPyConnection, after: int, until: int) -> list[Entry]:
    """What lies behind `after`, up to and with `until`, in order."""
    return [Entry(*row) for row in _rows(cur, "entries", after=after, until=until)]


def columns(cur: DuckDBPyConnection, prefix: str, after: int, until: int) -> Columns:
    """The same as columns, for comparing all of it at once with a stream whose subjects begin with `prefix`."""
    query = sql.load("projections.mirror", "queries/columns.sql")
    table = cur.sql(query, params={"prefix": prefix, "after": after, "until": until}).to_arrow_table()
    return Columns(*(column.to_pylist() for column in table.columns))


def bodies(cur: DuckDBPyConnection, after: int, until: int) -> list[Body]:
    """What lies there, with the stored bytes."""
    return [Body(*row) for row in _rows(cur, "bodies", after=after, until=until)]


def census(cur: DuckDBPyConnection, gaps: Sequence[Gap]) -> Census:
    """How many events lie in these stretches, and of how many candidates."""
    firsts, lasts = [first for first, _ in gaps], [last for _, last in gaps]
    return Census(*_rows(cur, "census", firsts=firsts, lasts=lasts)[0])


def heads(cur: DuckDBPyConnection, names: Sequence[str], until: int | None = None) -> dict[str, int]:
    """The last version of each aggregate that the mirror knows, or knew at the seq `until`."""
    ids = [row[0] for row in _rows(cur, "uuids", ids=[name.partition("-")[2] for name in names])]
    found = dict(_rows(cur, "heads", ids=ids, until=until))
    return {name: found[name] for name in names if found.get(name) is not None}


def places(cur: DuckDBPyConnection, ids: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
    """Seq and version of every event that the mirror knows of each candidate, in order."""
    found: dict[str, list[tuple[int, int]]] = {id_: [] for id_ in ids}
    for id_, seq, version in _rows(cur, "places", ids=list(ids)):
        found[id_].append((seq, version))
    return found


def jumps(cur: DuckDBPyConnection) -> list[Jump]:
    """The events whose version does not follow."""
    return [Jump(*row) for row in _rows(cur, "jumps")]


def identifiers(cur: DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """What leads to an aggregate: its kind, an identifier tied to a candidate or a pool's name, and the id.

    Of several to which one identifier was tied the first counts, as with claims.
    """
    return _rows(cur, "identifiers")


def identifiers_of(cur: DuckDBPyConnection, records: Sequence[str]) -> list[str]:
    """Identifiers tied to these candidates."""
    return [row[0] for row in _rows(cur, "identifiers_of", records=list(records))]


def erased(cur: DuckDBPyConnection) -> list[str]:
    """Records that were erased."""
    return [row[0] for row in _rows(cur, "erased")]


def merged_into(cur: DuckDBPyConnection, records: Sequence[str]) -> list[str]:
    """Other records that are merged into one of these, or that one of these is merged into."""
    return [row[0] for row in _rows(cur, "merged_into", records=list(records))]


def aggregates(cur: DuckDBPyConnection) -> int:
    """How many candidates and pools there are."""
    count: int = _rows(cur, "aggregates")[0][0]
    return count


def purged(cur: DuckDBPyConnection) -> dict[int, Place]:
    """What is named as purged by the events that end records, by seq."""
    return {seq: Place(*place) for seq, *place in _rows(cur, "purged")}


def settled(cur: DuckDBPyConnection) -> list[int]:
    """The seqs of what is named as purged, and is so here: the row has the hash, and no body. In order."""
    return [seq for (seq,) in _rows(cur, "settled")]


def known_gaps(cur: DuckDBPyConnection) -> list[Gap]:
    """Stretches of the ledger that hold nothing, and rightly so: losses that an operator accepted.

    Without the places that the mirror holds, as it does those of events that were purged.
    """
    return _rows(cur, "known_gaps")


def note_gap(connection: DuckDBPyConnection, first: int, last: int, reason: str) -> None:
    """From now on it is known that the ledger holds nothing here."""
    _rows(connection, "note_gap", first=first, last=last, reason=reason)


def unknown_gaps(gaps: Sequence[Gap], known: Sequence[Gap]) -> list[Gap]:
    """What is left of `gaps` without the `known` ones; both in order."""
    left: list[Gap] = []
    for first, last in gaps:
        start = first
        for known_first, known_last in known:
            if known_last < start or known_first > last:
                continue
            if known_first > start:
                left.append((start, known_first - 1))
            start = known_last + 1
        if start <= last:
            left.append((start, last))
    return left


def _rows(cur: DuckDBPyConnection, query: str, **parameters: object) -> list[Any]:
    return cur.execute(sql.load("projections.mirror", f"queries/{query}.sql"), parameters or None).fetchall()
