"""Why the ledger rightly holds nothing at a place: an event that ends a record says that its body was purged.

What the mirror has taken in is asked of the mirror; the ledger is read only for what lies behind that, and only when
something is missing that the mirror cannot explain.
"""

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock

from duckdb import DuckDBPyConnection

from consumers.handing_out import batches
from infra.jetstream import Connection, LedgerReader, RawMessage, Stream
from infra.jetstream.subjects import subject_of
from infra.purged import PurgedMessage, named_by
from projections import mirrored
from projections.mirrored import Columns, Entry, Gap


class Purged:
    """The purged places of a ledger, looked for behind a hole when somebody meets one. Safe to share between threads.

    The events that name them lie behind them, so whoever reads the ledger from its beginning meets the holes first.
    """

    def __init__(self, connection: Connection, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream
        self._lock = Lock()
        self._places: dict[int, PurgedMessage] = {}
        self._after = self._until = 0

    def between(self, first: int, last: int) -> list[PurgedMessage]:
        """Those from seq `first` to `last`, in order. Raises OperationalError when the ledger cannot be read."""
        with self._lock:
            found = list(self._within(first, last))
            if len(found) < last - first + 1:
                self._read_on(first)
                found = list(self._within(first, last))
        return found

    def behind(self, after: int) -> Mapping[int, PurgedMessage]:
        """Those that events behind seq `after` name, and perhaps others, by seq. Raises OperationalError."""
        with self._lock:
            self._read_on(after + 1)
            return self._places

    def _within(self, first: int, last: int) -> Iterator[PurgedMessage]:
        if last - first < len(self._places):
            return (self._places[seq] for seq in range(first, last + 1) if seq in self._places)
        return iter(sorted(place for seq, place in self._places.items() if first <= seq <= last))

    def _read_on(self, first: int) -> None:
        """Reads what lies behind `first` and was not read before, up to the end there is now."""
        if not self._after < first <= self._until + 1:
            self._after = self._until = first - 1
        last = LedgerReader(self._connection, self._stream).last_seq()
        if self._until < last:
            for batch in batches(self._connection, self._stream, self._until, last):
                self._take(batch)
            self._until = last

    def _take(self, batch: Sequence[RawMessage]) -> None:
        for message in batch:
            for place in named_by(self._stream.prefix, message.seq, message.subject, message.body):
                self._places.setdefault(place.seq, place)


class Explained:
    """What is explained to one reader of ledger and mirror. Its methods raise OperationalError."""

    def __init__(self, connection: Connection, stream: Stream, cursor: DuckDBPyConnection, last_seq: int) -> None:
        """`last_seq`: of the ledger; 0 says that there is none to be read."""
        self._stream = stream
        self._cursor = cursor
        self._is_there = last_seq > 0
        self._ledger = Purged(connection, stream)
        self._load()

    def covers(self, entry: Entry) -> bool:
        """Whether an event of the mirror was purged: named by one of its own record, with its hash."""
        if self._is_named(entry):
            return True
        if entry.is_bare and mirrored.extent(self._cursor).checkpoint > self._checkpoint:
            self._load()  # the mirror has moved on since
            if self._is_named(entry):
                return True
        ahead = self._ahead().get(entry.seq)
        return ahead is not None and (ahead.subject, ahead.left.hash) == (self._subject(entry.name), entry.hash)

    def bare(self, rows: Columns) -> dict[int, bytes]:
        """Of the mirror's rows without a body those that it knows to be purged: seq and hash."""
        found = {}
        for seq, subject, hash_ in zip(rows.seqs, rows.subjects, rows.hashes, strict=True):
            place = self._named.get(seq)
            if place is not None and (self._subject(place.name), place.hash) == (subject, hash_):
                found[seq] = hash_
        return found

    def beyond(self, first: int, last: int, checkpoint: int) -> dict[int, PurgedMessage]:
        """Of what lies from `first` to `last`, behind the mirror's end at `checkpoint`, that which was purged."""
        ahead = self._ledger.behind(checkpoint) if self._is_there else {}
        return {seq: ahead[seq] for seq in range(first, last + 1) if seq in ahead}

    def unexplained(self, gaps: Sequence[Gap]) -> list[int]:
        """The seqs of these stretches that were not purged, in order."""
        settled = set(mirrored.settled(self._cursor))
        left = [seq for first, last in gaps for seq in range(first, last + 1) if seq not in settled]
        if not left:
            return []
        ahead = self._ahead()
        seen = [seq for seq in left if seq in ahead and seq <= self._checkpoint]
        entries = mirrored.entries(self._cursor, seen[0] - 1, seen[-1]) if seen else []
        explained = {entry.seq for entry in entries if entry.seq in ahead and self.covers(entry)}
        return [seq for seq in left if not (seq in explained or (seq > self._checkpoint and seq in ahead))]

    def _ahead(self) -> Mapping[int, PurgedMessage]:
        """What is named behind the mirror's end."""
        return self._ledger.behind(self._checkpoint) if self._is_there else {}

    def _load(self) -> None:
        self._checkpoint = mirrored.extent(self._cursor).checkpoint
        self._named = mirrored.purged(self._cursor)

    def _is_named(self, entry: Entry) -> bool:
        return self._named.get(entry.seq) == (entry.name, entry.hash)

    def _subject(self, name: str) -> str:
        return subject_of(self._stream.prefix, name)
