"""Putting lost events back into the ledger from the mirror, and claims that lead to them."""

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import orjson
import pyarrow as pa
from duckdb import DuckDBPyConnection

from consumers.loss import extend, held_by, holes, shown
from consumers.verification import Finding, Kind, Progress, Summary, verify
from domain.candidate import Erased
from infra.crypto.claims import Claims
from infra.jetstream import ApiError, Connection, Stream
from infra.jetstream.reappend import Lost, reappend
from infra.jetstream.stream import erase_messages
from infra.jetstream.subjects import subject_of
from infra.pools import claim_of
from projections import mirrored
from projections.mirrored import Census, Gap

BATCH = 500
BATCH_BYTES = 4_000_000
CLAIMS_BATCH = 5_000
ERASE_S = 3_600.0


class RestoreRefused(Exception):
    """The mirror cannot give the ledger back what it lost; one sentence with the way out."""


@dataclass(frozen=True)
class Survey:
    """What ledger and mirror hold, as far as restoring is concerned."""

    ledger_last_seq: int
    checkpoint: int
    missing: list[Gap]
    """What the mirror alone holds."""
    census: Census
    """Of what is missing."""
    gaps: list[Gap]
    """What neither holds."""
    other: dict[str, int]
    """How many findings there are that no restoring heals, by kind. An event broken from the start is none."""
    nameless: int
    """How many of the missing were no events of any aggregate, so that their subject is unknown."""
    accepted: list[Gap]
    """What neither holds and somebody accepted as lost."""

    @property
    def lost(self) -> Gap | None:
        """What is to be put back behind the ledger's end; None when nothing is."""
        return (self.ledger_last_seq + 1, self.checkpoint) if self.ledger_last_seq < self.checkpoint else None

    @property
    def refusal(self) -> str | None:
        """Why nothing can be put back, and what to do; None when the ledger is the mirror's beginning, or all of it."""
        found = ", ".join(f"{count:,} {kind}" for kind, count in self.other.items())
        if Kind.ALTERED in self.other or Kind.FOREIGN in self.other:
            return (
                f"the ledger holds something else than the mirror saw ({found}), and two histories are never mixed: "
                "put back a copy of the ledger that `rapport verify` finds clean, or, if the ledger is right and the "
                "mirror wrong, keep the views file elsewhere and start again: it is filled anew"
            )
        if self.other:
            return f"the mirror is damaged ({found}): put back a copy of the views file, or one of another node"
        if self.nameless:
            return (
                f"{self.nameless:,} of the lost messages were no events, and the mirror does not know their subject: "
                "put back a copy of the ledger that holds them"
            )
        if self.missing != ([self.lost] if self.lost else []):
            way_out = (
                "keep the stream's own folder (jetstream/RAPPORT/streams/LEDGER) elsewhere and run `rapport restore` "
                "again: the mirror holds all of it"
            )
            if self.gaps or self.ledger_last_seq > self.checkpoint:
                way_out = "put back a copy of the ledger, for it holds events that this mirror does not"
            elif behind := [gap for gap in self.accepted if self.lost and gap[1] >= self.lost[0]]:
                return (
                    f"among the lost events are some that were accepted as lost before ({shown(behind)}), and what "
                    "stood behind them cannot be put back at its place: put back a copy of the ledger"
                )
            return (
                f"the ledger lost events whose seqs it has passed ({shown(self.missing)}), and it gives no seq again; "
                f"{way_out}"
            )
        return None


def survey(
    connection: Connection, stream: Stream, cursor: DuckDBPyConnection, on_progress: Callable[[Progress], None]
) -> Survey:
    """Compares everything. Raises OperationalError when the ledger cannot be read."""
    missing: list[Gap] = []
    gaps: list[Gap] = []
    other: Counter[str] = Counter()
    nameless = 0
    summary = Summary(0, 0, 0, 0, 0, 0.0)
    for item in verify(connection, stream, cursor):
        match item:
            case Progress():
                on_progress(item)
            case Finding(Kind.MISSING):
                extend(missing, item.seq)
                nameless += item.name is None
            case Finding(Kind.GAP):
                gaps.append((item.seq, item.last_seq))
            case Finding(Kind.ALTERED | Kind.FOREIGN | Kind.MIRROR):
                other[item.kind.value] += 1
            case Summary():
                summary = item
    census = mirrored.census(cursor, missing)
    accepted = mirrored.known_gaps(cursor)
    return Survey(summary.ledger_last_seq, summary.checkpoint, missing, census, gaps, dict(other), nameless, accepted)


def put_back(
    connection: Connection, stream: Stream, cursor: DuckDBPyConnection, lost: Gap, on_progress: Callable[[int], None]
) -> int:
    """Appends the events of `lost`, each at its old seq; how many. Stops at the first deviation with RestoreRefused.

    What an attempt before has put back stays: the next survey begins behind it. `on_progress` is told each seq reached.
    The place of an event that was purged is taken by a message without a body. These are deleted before the last event
    is put back, and with them bodies that a copy of the ledger has brought back: so an attempt that was killed between
    them finds something lost.
    """
    reached = lost[0] - 1
    purged = set(mirrored.settled(cursor))
    while reached < lost[1]:
        if reached == lost[1] - 1:
            _delete(connection, stream, purged)
        messages = _next(cursor, stream, reached, max(reached + 1, lost[1] - 1), purged)
        try:
            last = connection.call(reappend(connection, messages, reached, connection.request_timeout_s))
        except ApiError as error:
            raise RestoreRefused(
                f"the ledger does not take event {reached + 1:,} ({error.description}): if somebody else writes to it, "
                "stop every node, and run the command again"
            ) from error
        reached += len(messages)
        if last != reached:
            raise RestoreRefused(f"the ledger gave event {reached:,} the place {last:,}; run `rapport verify`")
        on_progress(reached)
    return lost[1] - lost[0] + 1


def _delete(connection: Connection, stream: Stream, purged: Collection[int]) -> None:
    """Deletes what the ledger holds of these."""
    held = held_by(connection, stream)
    gone = {seq for first, last in holes(connection, stream) for seq in range(first, last + 1)} if purged else set()
    there = sorted(seq for seq in purged if seq <= held.last_seq and seq not in gone)
    connection.call(erase_messages(connection, stream, there), ERASE_S)


def _next(cursor: DuckDBPyConnection, stream: Stream, after: int, until: int, purged: Container[int]) -> list[Lost]:
    """What is to be put back behind `after`, as much as goes at a time. Raises RestoreRefused."""
    messages: list[Lost] = []
    size = 0
    for place, event in enumerate(mirrored.bodies(cursor, after, min(after + BATCH, until)), after + 1):
        body = b"" if event.body is None else event.body
        is_whole = sha256(body).digest() == event.hash or (event.body is None and event.seq in purged)
        if event.seq != place or not is_whole:
            raise RestoreRefused(f"the mirror does not hold event {place:,} as it was; what lies behind stays lost")
        size += len(body)
        if messages and size > BATCH_BYTES:
            break
        messages.append(Lost(subject_of(stream.prefix, event.name), body, event.recorded_at_us * 1_000))
    if not messages:
        raise RestoreRefused(f"the mirror does not hold event {after + 1:,}; what lies behind stays lost")
    return messages


def claim_again(claims: Claims, cursor: DuckDBPyConnection, tail: Iterable[pa.Table] = ()) -> int:
    """Makes every claim that the mirror's events stand for, and those of the ledger's `tail` that the mirror has not
    seen yet, where there is none; how many there are.

    Raises OperationalError when the ledger's server does not confirm.
    """
    tied: dict[str, list[str]] = {}  # to whom, in order
    for kind, identifier, id_ in mirrored.identifiers(cursor):
        tied.setdefault(claim_of(identifier) if kind == "pool" else identifier, []).append(id_)
    erased = set[str]()
    for table in tail:
        for row in table.select(["kind", "id", "type", "personal"]).to_pylist():
            said = {} if row["personal"] is None else orjson.loads(row["personal"])
            if row["type"] == Erased.type:
                erased.add(row["id"])
            elif row["kind"] == "pool" and row["type"] == "created" and "name" in said:
                tied.setdefault(claim_of(said["name"]), []).append(row["id"])
            for identifier in said.get("identifiers") or ():
                tied.setdefault(identifier, []).append(row["id"])
    left = {identifier: [id_ for id_ in ids if id_ not in erased] for identifier, ids in tied.items()}
    wanted = {identifier: ids[0] for identifier, ids in left.items() if ids}
    for some in _chunks(wanted.items()):
        claims.claim(dict(some))
    return len(wanted)


def _chunks(items: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    everything = list(items)
    for start in range(0, len(everything), CLAIMS_BATCH):
        yield everything[start : start + CLAIMS_BATCH]
