"""Does the ledger still hold what the mirror saw? A look that costs milliseconds whatever there is to look at.

The whole is `consumers.verification`. What this one rests on: nothing is ever deleted from the ledger that is not
known as deleted or named as purged, so counts alone betray a hole, and the end of the history betrays a ledger that was
exchanged.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from duckdb import DuckDBPyConnection

from consumers.explaining import Explained
from consumers.handing_out import handed_out
from infra.crypto.keyring import CLAIMING, GIVEN_UP, PEPPER, UNDER_WAY
from infra.jetstream import Connection, Stream
from infra.jetstream.replies import ApiError
from infra.jetstream.stream import STREAM_NOT_FOUND
from infra.jetstream.subjects import subject_of
from projections import mirrored
from projections.mirrored import Entry, Gap

NAME = re.compile(r"[a-z]{1,40}-[0-9a-f]{32}\Z")
"""An aggregate's name as Rapport makes them; what is no event of ours may say anything."""
TAIL = 1_000
"""How many of the last events are compared byte for byte."""
SHOWN = 5
WAY_OUT = "`rapport verify` names every one of them, `rapport restore` says whether they can be put back, and does it"

KEYS_WAY_OUT = (
    "put back the bucket KV_keys from its own backup, or say `rapport restore --without-keys`, after which personal "
    "fields that were sealed with them stay closed for good"
)
KEYS = Stream("KV_keys", "$KV.keys")
CLAIMS = Stream("KV_claims", "$KV.claims")


class Held(NamedTuple):
    """What the server says that the ledger holds."""

    messages: int
    first_seq: int
    last_seq: int


def held_by(connection: Connection, stream: Stream) -> Held:
    """What the ledger holds; nothing when there is no such stream. Raises OperationalError."""
    return _held(_info(connection, stream))


def contradiction(connection: Connection, stream: Stream, cursor: DuckDBPyConnection) -> str | None:
    """In what ledger and mirror contradict each other, in one sentence with the way out; None when in nothing.

    Raises OperationalError when the ledger cannot be read.
    """
    # In this order: the mirror moves on while a node runs, and what it holds the ledger held before.
    extent, known, held = mirrored.extent(cursor), mirrored.known_gaps(cursor), held_by(connection, stream)
    explained = Explained(connection, stream, cursor, held.last_seq)
    lost = [(held.last_seq + 1, extent.checkpoint)] if extent.checkpoint > held.last_seq else []
    if held.messages + _size(known, held.last_seq) < held.last_seq:
        unknown = mirrored.unknown_gaps(holes(connection, stream), known)
        lost = _stretches(explained.unexplained(unknown)) + lost
    if lost:
        return _lost(cursor, lost)
    if extent.events + _size(known, extent.checkpoint) != extent.checkpoint or extent.rows != extent.events:
        return (
            f"the mirror holds {extent.rows:,} of the {extent.checkpoint:,} events it was to have seen: some were lost "
            f"from the ledger before it could, or from itself; {WAY_OUT}"
        )
    absent, others = _tail(connection, stream, cursor, extent.checkpoint, explained)
    if others:
        events, candidates = mirrored.census(cursor, others)
        return (
            f"the ledger holds others in place of {events:,} events of {candidates:,} candidates that the mirror saw "
            f"({shown(others)}, and perhaps before): it was altered, or it is another ledger; {WAY_OUT}"
        )
    return _lost(cursor, absent) if absent else None


def _lost(cursor: DuckDBPyConnection, lost: Sequence[Gap]) -> str:
    events, candidates = mirrored.census(cursor, lost)
    return (
        f"the ledger has lost {_size(lost):,} of its events ({shown(lost)}); the mirror holds {events:,} of them, of "
        f"{candidates:,} candidates; {WAY_OUT}"
    )


def keys_lost(connection: Connection, cursor: DuckDBPyConnection, own: Mapping[str, bytes]) -> int:
    """How many candidates and pools have lost their key at least, besides those given up. Raises OperationalError.

    `own` are the entries of the bucket that are no such keys, `OWN`, as far as they are there.
    """
    given_up = int(own.get(GIVEN_UP, b"0"))
    return max(0, mirrored.aggregates(cursor) - given_up - (held_by(connection, KEYS).messages - len(own)))


def claims_lost(connection: Connection, own: Mapping[str, bytes]) -> bool:
    """Whether there is not one claim, or not all were made again. `own` as for `keys_lost`. Raises OperationalError."""
    return own.get(CLAIMING) == UNDER_WAY or held_by(connection, CLAIMS).messages == 0


def secrets_lost(
    connection: Connection, stream: Stream, cursor: DuckDBPyConnection, own: Mapping[str, bytes]
) -> str | None:
    """Which keys or claims are gone that events were recorded with, in one sentence with the way out.

    `own` as for `keys_lost`. Raises OperationalError.
    """
    if not held_by(connection, stream).messages:
        return None
    if lost := keys_lost(connection, cursor, own):
        return f"the keys of {lost:,} candidates or pools are gone: {KEYS_WAY_OUT}"
    if PEPPER not in own:
        return (
            "the ledger has events, and the pepper of its claims is gone: put back the bucket KV_keys from its own "
            "backup; `rapport restore` makes another, and says first who is then not recognised any more"
        )
    if claims_lost(connection, own):
        return "the claims that lead from identifiers to candidates are gone; `rapport restore` makes them again"
    return None


def shown(gaps: Sequence[Gap]) -> str:
    """Stretches in words: `501 to 1,000, 1,200`."""
    words = [f"{first:,} to {last:,}" if last > first else f"{first:,}" for first, last in gaps[:SHOWN]]
    return ", ".join(words) + (f" and {len(gaps) - SHOWN:,} more stretches" if len(gaps) > SHOWN else "")


def _tail(
    connection: Connection, stream: Stream, cursor: DuckDBPyConnection, checkpoint: int, explained: Explained
) -> tuple[list[Gap], list[Gap]]:
    """Of the last events that the mirror saw: which the ledger does not hand out, and which are others there."""
    after, absent, others = max(0, checkpoint - TAIL), list[int](), list[int]()
    entries = mirrored.entries(cursor, after, checkpoint)
    messages = handed_out(connection, stream, after, checkpoint, TAIL) if entries else ()
    there = {m.seq: (m.subject, m.time_ns // 1_000, sha256(m.body).digest()) for m in messages}
    for entry in entries:
        if (entry.is_bare or entry.seq not in there) and explained.covers(entry):
            continue
        if entry.seq not in there:
            absent.append(entry.seq)
        elif not (entry.intact and _is_same(entry, there[entry.seq], stream.prefix)):
            others.append(entry.seq)
    return _stretches(absent), _stretches(others)


def _is_same(entry: Entry, found: tuple[str, int, bytes], prefix: str) -> bool:
    """What was no event was mirrored without the name of an aggregate, so that its subject says nothing."""
    if found[1:] != (entry.recorded_at_us, entry.hash):
        return False
    return NAME.match(entry.name) is None or found[0] == subject_of(prefix, entry.name)


def holes(connection: Connection, stream: Stream) -> list[Gap]:
    """Where, below its last seq, the ledger holds nothing. Raises OperationalError."""
    info = _info(connection, stream, {"deleted_details": True})
    held = _held(info)
    before: list[Gap] = [(1, held.first_seq - 1)] if held.first_seq > 1 else []
    return before + _stretches(info.get("deleted") or ())


def _stretches(seqs: Iterable[int]) -> list[Gap]:
    """Ascending seqs as stretches without a hole."""
    found: list[Gap] = []
    for seq in seqs:
        extend(found, seq)
    return found


def extend(stretches: list[Gap], seq: int) -> None:
    """Adds a seq behind the last one."""
    if stretches and stretches[-1][1] == seq - 1:
        stretches[-1] = (stretches[-1][0], seq)
    else:
        stretches.append((seq, seq))


def _held(state: dict[str, Any]) -> Held:
    return Held(state["messages"], state["first_seq"], state["last_seq"])


def _info(connection: Connection, stream: Stream, request: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        info: dict[str, Any] = connection.call(connection.read_api(f"STREAM.INFO.{stream.name}", request))["state"]
    except ApiError as error:
        if error.code != STREAM_NOT_FOUND:
            raise
        return {"messages": 0, "first_seq": 0, "last_seq": 0}
    return info


def _size(gaps: Sequence[Gap], until: int | None = None) -> int:
    """How many seqs lie in `gaps`, up to `until`."""
    ends = [(first, last if until is None else min(last, until)) for first, last in gaps]
    return sum(max(0, last - first + 1) for first, last in ends)
