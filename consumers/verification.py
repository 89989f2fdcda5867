"""The whole ledger against the mirror: every event that is missing, altered, foreign, broken, or in neither.

Both are read by stretches and compared as columns, all of a stretch at once. Only a stretch in which anything differs
is gone through event by event, which is what says what it is.

It stands here because it needs both sides and belongs to neither: a broker is unknown to `projections`, the mirror to
`infra`. Nothing is written. Findings name seq, aggregate, type and hashes, never a body.
"""

import re
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from itertools import chain, pairwise
from operator import attrgetter

from duckdb import DuckDBPyConnection

from consumers.explaining import Explained
from consumers.handing_out import batches, handed_out
from consumers.loss import KEYS, NAME, held_by
from domain.checkpoint import Checkpoint
from infra.crypto.keyring import CLAIMING, GIVEN_UP, PEPPER
from infra.jetstream import Connection, LedgerCorruptedError, RawMessage, Stream
from infra.jetstream.message import decode
from infra.jetstream.stream import get_message
from infra.jetstream.subjects import originator_of
from infra.purged import PurgedMessage
from projections import mirrored
from projections.mirrored import Columns, Entry, Gap, Jump
from projections.tree.checking import Checking, Disagreement

WINDOW = 10_000
"""Seqs compared at a time: what bounds the memory."""
AT_ONCE_BYTES = 1 << 28
"""Bodies of more than this in one window are not held twice to compare them."""
_TYPE = re.compile(r"[a-z_]{1,40}\Z")


NAMED = 20
"""So many keys that are damaged are named."""

IsWhole = Callable[[str, bytes], bool]


class Kind(StrEnum):
    """What can be wrong with one place of the ledger."""

    MISSING = "missing"  # in the mirror, no longer in the ledger, and no event says that it was purged
    ALTERED = "altered"  # in both, and not the same
    FOREIGN = "foreign"  # in the ledger below the checkpoint, never seen by the mirror
    BROKEN = "broken"  # not an event, not its subject's, or not the next version
    GAP = "gap"  # in neither, and nobody knows why
    MIRROR = "mirror"  # the mirror's own row is damaged
    REMAINS = "remains"  # named as purged, and in the ledger all the same
    TREE = "tree"  # the log's tree, or the checkpoint signed over it, is not that of the mirror's events


@dataclass(frozen=True)
class Finding:
    """One event, or for a gap the stretch from `seq` to `last_seq`."""

    kind: Kind
    seq: int
    last_seq: int
    detail: str
    name: str | None = None
    version: int | None = None
    type: str | None = None
    ledger_hash: str | None = None
    mirror_hash: str | None = None


@dataclass(frozen=True)
class Progress:
    """So many of so many seqs are compared."""

    done: int
    total: int


@dataclass(frozen=True)
class Summary:
    """What there was. `withheld`: events that the server counts and does not hand out, for it cannot read them.
    `keys_lost`: candidates and pools, at least, whose key is not there or cannot be used; `keys_damaged` names some
    whose key is there.
    """

    events: int
    ledger_last_seq: int
    checkpoint: int
    withheld: int
    keys_lost: int
    duration_s: float
    purged: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    keys_damaged: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.findings or self.withheld or self.keys_lost)


def verify(
    connection: Connection,
    stream: Stream,
    cursor: DuckDBPyConnection,
    signed: Checkpoint | None = None,
    is_whole: IsWhole | None = None,
) -> Iterator[Finding | Progress | Summary]:
    """Every finding in order of seq (those of the tree before those of their stretch, those in the mirror's versions
    last), progress in between, the summary at the end.

    The log's tree is computed anew from the mirror, whose hashes are compared with the ledger's bytes; what is kept of
    it must be the same, and its root that of `signed`, the last checkpoint, if that is given. `is_whole` says of a key,
    by its name and as it is stored, whether it can be used; without it they are only counted. What the ledger takes
    meanwhile is left for the next time. Raises OperationalError when it cannot be read.
    """
    return _Verification(connection, stream, cursor, signed, is_whole).run()


class _Verification:
    def __init__(
        self,
        connection: Connection,
        stream: Stream,
        cursor: DuckDBPyConnection,
        signed: Checkpoint | None,
        is_whole: IsWhole | None,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._cursor = cursor
        self._is_whole = is_whole
        self._damaged: list[str] = []
        self._checkpoint = mirrored.extent(cursor).checkpoint
        self._known_gaps = mirrored.known_gaps(cursor)
        self._held = held_by(connection, stream)
        self._explained = Explained(connection, stream, cursor, self._held.last_seq)
        self._tree = Checking(cursor, signed)
        self._versions: dict[str, int] = {}  # of aggregates with events beyond the checkpoint
        self._counts: Counter[str] = Counter()
        self._broken: set[int] = set()
        self._read = 0
        self._events = 0
        self._purged = 0
        self._gap: Gap | None = None

    def run(self) -> Iterator[Finding | Progress | Summary]:
        begun = time.monotonic()
        total = max(self._checkpoint, self._held.last_seq)
        for after, until, messages in _windows(self._batches(), total):
            for finding in self._window(after, until, messages):
                yield self._counted(finding)
            yield Progress(until, total)
        for finding in chain(self._gaps(), map(_of_tree, self._tree.end()), self._jumps()):
            yield self._counted(finding)
        yield Summary(
            events=self._events,
            ledger_last_seq=self._held.last_seq,
            checkpoint=self._checkpoint,
            withheld=max(0, self._held.messages - self._read),
            keys_lost=max(0, mirrored.aggregates(self._cursor) - self._keys()),
            duration_s=time.monotonic() - begun,
            purged=self._purged,
            findings=dict(self._counts),
            keys_damaged=tuple(self._damaged[:NAMED]),
        )

    def _keys(self) -> int:
        """How many keys can be used, with those whose loss was accepted; the damaged ones are noted."""
        count, held = 0, held_by(self._connection, KEYS)
        if held.messages:
            for message in handed_out(self._connection, KEYS, 0, held.last_seq, WINDOW):
                entry = message.subject.removeprefix(f"{KEYS.prefix}.")
                if entry == CLAIMING:
                    continue
                if entry == GIVEN_UP:
                    count += int(message.body)
                elif message.body and self._is_whole is not None and not self._is_whole(entry, message.body):
                    self._damaged.append(entry)
                else:
                    count += entry != PEPPER
        return count

    def _counted(self, finding: Finding) -> Finding:
        self._counts[finding.kind.value] += 1
        return finding

    def _window(self, after: int, until: int, messages: Sequence[RawMessage]) -> Iterator[Finding]:
        columns = _columns(messages) if until <= min(self._checkpoint, self._held.last_seq) else None
        purged = self._agreed(after, until, columns) if columns is not None else None
        if columns is not None and purged is not None:
            entries = list(zip(columns.seqs, columns.hashes, strict=True))
            if purged:
                entries = sorted(entries + list(purged.items()))
            self._purged += len(purged)
            yield from map(_of_tree, self._tree.add(entries))
            yield from self._passed(after, until, [seq for seq, _ in entries] if purged else columns.seqs)
        else:
            yield from self._one_by_one(after, until, messages)

    def _agreed(self, after: int, until: int, ledger: Columns) -> dict[int, bytes] | None:
        """What was purged here, seq and hash, when the mirror holds the ledger's events besides, each as it was.

        Then there is nothing that `_one_by_one` would find. None when it does not.
        """
        mirror = mirrored.columns(self._cursor, self._stream.prefix, after, until)
        if ledger == mirror:
            return {}
        purged = self._explained.bare(mirror.only(mirror.bare)) if mirror.bare else {}
        return purged if ledger == mirror.only(set(mirror.seqs) - purged.keys()) else None

    def _passed(self, after: int, until: int, seqs: Sequence[int]) -> Iterator[Finding]:
        """What there is to say of a stretch in which ledger and mirror hold just these, and the same."""
        self._events += len(seqs)
        if len(seqs) == until - after:
            yield from self._gaps()
            return
        for before, seq in pairwise((after, *seqs)):
            self._missed(before, seq)
            yield from self._gaps()
        self._missed(seqs[-1] if seqs else after, until + 1)

    def _one_by_one(self, after: int, until: int, messages: Sequence[RawMessage]) -> Iterator[Finding]:
        known = min(until, self._checkpoint)
        entries = {e.seq: e for e in mirrored.entries(self._cursor, after, known)} if after < known else {}
        yield from map(_of_tree, self._tree.add([(e.seq, e.hash) for e in entries.values()]))
        handed = {m.seq: m for m in messages}
        unseen = self._purged_unseen(max(after, self._checkpoint), until, handed)
        self._look_up_versions(m for m in chain(messages, unseen.values()) if m.seq > self._checkpoint)
        for seq in range(after + 1, until + 1):
            entry, message = entries.get(seq), handed.get(seq)
            if seq in unseen:
                self._events += 1
                yield from self._gaps()
                yield from self._of_unseen(unseen[seq])
                continue
            if entry is None and message is None:
                self._missed(seq - 1, seq + 1)
                continue
            self._events += 1
            yield from self._gaps()
            if entry is not None and (message is None or entry.is_bare) and self._explained.covers(entry):
                yield from self._of_purged(entry, message)
                continue
            if message is None:
                assert entry is not None  # noqa: S101 - one of them is there
                yield _of_entry(Kind.MISSING, entry, "it is in the mirror only")
            if entry is not None and not entry.intact:
                yield _of_entry(Kind.MIRROR, entry, "the mirror's row no longer has the hash noted beside it")
            if message is not None:
                finding = self._compared(message, entry)
                if finding is not None:
                    yield finding

    def _purged_unseen(self, after: int, until: int, handed: Container[int]) -> dict[int, PurgedMessage]:
        """What was purged behind the mirror's end, of what is not there."""
        absent = [seq for seq in range(after + 1, until + 1) if seq not in handed]
        if not absent:
            return {}
        named = self._explained.beyond(absent[0], absent[-1], self._checkpoint)
        return {seq: place for seq, place in named.items() if seq not in handed}

    def _of_unseen(self, place: PurgedMessage) -> Iterator[Finding]:
        self._purged += 1
        name, hash_ = _name(place), place.left.hash
        finding = self._follows(name, place, place.left.version, hash_) if name is not None else None
        if finding is not None:
            yield finding

    def _of_purged(self, entry: Entry, message: RawMessage | None) -> Iterator[Finding]:
        if entry.seq > self._held.last_seq:
            yield _of_entry(Kind.MISSING, entry, "it was purged, and its place is lost with the ledger's end")
        elif message is not None and self._is_there(entry.seq):
            yield _of_entry(
                Kind.REMAINS, entry, "it is to be purged and still there: `rapport erase RECORD --purge` removes it"
            )
        else:
            self._purged += 1

    def _is_there(self, seq: int) -> bool:
        """Whether a message that was handed out is there still: it may have been purged since."""
        return self._connection.call(get_message(self._connection, self._stream, seq=seq)) is not None

    def _compared(self, message: RawMessage, entry: Entry | None) -> Finding | None:
        hash_ = sha256(message.body).digest()
        if entry is None and message.seq <= self._checkpoint:
            return _of_message(Kind.FOREIGN, message, "the mirror never saw it", hash_)
        if entry is not None and hash_ != entry.hash:
            return _of_message(Kind.ALTERED, message, "its bytes are others than the mirror saw", hash_, entry)
        try:
            event = decode(self._stream.prefix, message.subject, message.seq, message.body)
        except LedgerCorruptedError:
            self._broken.add(message.seq)
            return _of_message(Kind.BROKEN, message, "it is no event, or not one of its subject", hash_, entry)
        name, version = str(event.originator_id), event.originator_version
        if entry is not None:
            ours = (name, version, event.topic, message.time_ns // 1_000)
            theirs = (entry.name, entry.version, entry.type, entry.recorded_at_us)
            if ours == theirs:
                return None
            names = ("aggregate", "version", "type", "recorded_at")
            differing = [what for what, a, b in zip(names, ours, theirs, strict=True) if a != b]
            detail = f"ledger and mirror differ in its {', '.join(differing)}"
            return _of_message(Kind.ALTERED, message, detail, hash_, entry)
        return self._follows(name, message, version, hash_)

    def _follows(self, name: str, message: RawMessage, version: int, hash_: bytes) -> Finding | None:
        before, self._versions[name] = self._versions.get(name, 0), version
        if version == before + 1:
            return None
        self._broken.add(message.seq)
        return _of_message(Kind.BROKEN, message, f"version {version} follows version {before}", hash_)

    def _look_up_versions(self, messages: Iterable[RawMessage]) -> None:
        names = {name for m in messages if (name := _name(m)) is not None and name not in self._versions}
        if names and self._checkpoint:
            self._versions |= mirrored.heads(self._cursor, sorted(names), self._checkpoint)

    def _missed(self, before: int, behind: int) -> None:
        """Nothing lies between these two seqs; what lay in no one's hands before goes on."""
        if before + 1 < behind:
            self._gap = (self._gap[0] if self._gap is not None else before + 1, behind - 1)

    def _gaps(self) -> Iterator[Finding]:
        """What is unknown of the gap that has just ended."""
        gap, self._gap = self._gap, None
        for first, last in mirrored.unknown_gaps([gap], self._known_gaps) if gap is not None else ():
            yield Finding(Kind.GAP, first, last, "neither ledger nor mirror holds anything here")

    def _jumps(self) -> Iterator[Finding]:
        for jump in mirrored.jumps(self._cursor):
            if jump.seq not in self._broken:
                detail = f"version {jump.version} follows version {jump.version_before}"
                yield Finding(Kind.BROKEN, jump.seq, jump.seq, detail, *_named(jump))

    def _batches(self) -> Iterator[list[RawMessage]]:
        """Everything the server hands out, up to the last seq there was at the start."""
        if self._held.messages:
            for batch in batches(self._connection, self._stream, 0, self._held.last_seq, WINDOW):
                self._read += len(batch)
                yield batch


def _columns(messages: Sequence[RawMessage]) -> Columns | None:
    """The messages as the mirror has to say that they were; None where they are too much to be held twice."""
    if sum(len(m.body) for m in messages) > AT_ONCE_BYTES:
        return None
    # Not `zip`: an iterator for each message sets off the garbage collector, which costs five times as much as this.
    return Columns(
        [m.seq for m in messages],
        [m.time_ns // 1_000 for m in messages],
        [m.subject for m in messages],
        [sha256(m.body).digest() for m in messages],
        [m.body for m in messages],
    )


def _windows(handed: Iterator[list[RawMessage]], total: int) -> Iterator[tuple[int, int, Sequence[RawMessage]]]:
    """The messages by stretches of `WINDOW` seqs, up to `total`, empty ones included."""
    held: list[RawMessage] = []
    for after in range(0, total, WINDOW):
        until = min(after + WINDOW, total)
        while not held or held[-1].seq < until:
            batch = next(handed, None)
            if batch is None:
                break
            held += batch
        count = bisect_right(held, until, key=attrgetter("seq"))
        yield after, until, held[:count]
        del held[:count]


def _name(message: RawMessage) -> str | None:
    """The aggregate that a subject stands for, if it looks like one of ours: a foreign subject may say anything."""
    prefix = message.subject.partition(".")[0]
    try:
        name = str(originator_of(prefix, message.subject))
    except ValueError:
        return None
    return name if NAME.match(name) else None


def _named(row: Entry | Jump) -> tuple[str | None, int, str | None]:
    """Name, version and type as far as they look like ours: what was no event may say anything."""
    return row.name if NAME.match(row.name) else None, row.version, row.type if _TYPE.match(row.type) else None


def _of_tree(found: Disagreement) -> Finding:
    return Finding(Kind.TREE, *found)


def _of_entry(kind: Kind, entry: Entry, detail: str) -> Finding:
    return Finding(kind, entry.seq, entry.seq, detail, *_named(entry), mirror_hash=entry.hash.hex())


def _of_message(kind: Kind, message: RawMessage, detail: str, hash_: bytes, entry: Entry | None = None) -> Finding:
    if entry is None:
        return Finding(kind, message.seq, message.seq, detail, _name(message), ledger_hash=hash_.hex())
    return Finding(kind, message.seq, message.seq, detail, *_named(entry), hash_.hex(), entry.hash.hex())
