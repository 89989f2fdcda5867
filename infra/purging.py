"""The bodies of an erased record's events, secure-deleted from the ledger; what is kept of each is named before.

First further `erased` events of the record name every body that goes; then the bodies go. So whoever finds a hole
finds, behind it, the event that explains it. What has been done stands in the ledger alone: begun again, it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from eventsourcing.persistence import OperationalError

from domain.candidate import EVENTS, KIND, Erased
from domain.policy import APPEND_ATTEMPTS
from infra import codec
from infra.jetstream import Connection, LedgerCorruptedError, Stream
from infra.jetstream.message import decode
from infra.jetstream.stream import StoredMessage, erase_messages, scan_subject
from infra.jetstream.subjects import subject_of
from infra.purged import hashed, named_by

AT_ONCE = 2_000
"""Bodies that one event names: at most 400 kB of it, and a server takes 1 MB unless it is told otherwise."""
TIMEOUT_S = 3_600.0


class Naming(NamedTuple):
    """The fields `bodies` and `envelopes` of an `erased` event."""

    bodies: tuple[tuple[int, str], ...]
    envelopes: tuple[tuple[int, str, datetime], ...]


Append = Callable[[int, Naming], int | None]
"""Appends an `erased` event to the record, behind its version; the event's seq, None when others were quicker."""


class Gone(NamedTuple):
    """How many bodies of a record are gone, and the seq of the last event that names them (0 when there were none)."""

    bodies: int
    named_at: int


class Purging:
    """Purges records of one ledger. Safe to share between threads, and between nodes."""

    def __init__(self, connection: Connection, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream

    def purge(self, candidate_id: str, append: Append, go_on: Callable[[], bool]) -> Gone | None:
        """Names and deletes what there is of an erased record but its `erased` events. May be repeated.

        None when it ended early because `go_on` said no. Raises OperationalError when the ledger does not confirm; what
        was done by then stays done.
        """
        prefix, subject = self._stream.prefix, subject_of(self._stream.prefix, codec.aggregate_id(KIND, candidate_id))
        for _ in range(APPEND_ATTEMPTS):
            history = self._connection.call(self._history(subject), TIMEOUT_S)
            named = {place.seq: place.left.named_at for m in history for place in named_by(prefix, *m[:3])}
            to_go = [message for message in history if _said(prefix, message)[1] != Erased.type]
            unnamed = [message for message in to_go if message.seq not in named]
            named_at = _name(prefix, unnamed, _version(prefix, history[-1]), append) if unnamed else 0
            if named_at is not None:
                gone = Gone(len(named) + len(unnamed), max(named_at, *named.values(), 0))
                return gone if self._delete([message.seq for message in to_go], go_on) else None
        raise OperationalError("others kept writing to this record; it is tried again")

    def _delete(self, seqs: Sequence[int], go_on: Callable[[], bool]) -> bool:
        """Whether all are gone.

        One after the other, which takes no longer, for the server syncs each (14 ms): stopped anywhere, what is left of
        the record has no gap in its versions.
        """
        for seq in seqs:
            if not go_on():
                return False
            self._connection.call(erase_messages(self._connection, self._stream, [seq]))
        return True

    async def _history(self, subject: str) -> list[StoredMessage]:
        return [message async for message in scan_subject(self._connection, self._stream, subject)]


def _name(prefix: str, messages: Sequence[StoredMessage], version: int, append: Append) -> int | None:
    """The seq of the last event appended; None when others were quicker."""
    seq: int | None = None
    for place, start in enumerate(range(0, len(messages), AT_ONCE)):
        some = messages[start : start + AT_ONCE]
        bodies = tuple((message.seq, hashed(sha256(message.body).digest())) for message in some)
        envelopes = tuple((*_said(prefix, message), message.recorded_at) for message in some)
        seq = append(version + place, Naming(bodies, envelopes))
        if seq is None:
            return None
    return seq


def _said(prefix: str, message: StoredMessage) -> tuple[int, str]:
    """Version and type; 0 and nothing where it is no event of the catalogue, for then it may say anything."""
    try:
        event = decode(prefix, message.subject, message.seq, message.body)
    except LedgerCorruptedError:
        return 0, ""
    return event.originator_version, event.topic if event.topic in EVENTS else ""


def _version(prefix: str, message: StoredMessage) -> int:
    return decode(prefix, message.subject, message.seq, message.body).originator_version
