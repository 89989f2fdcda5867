"""What was purged: events whose bodies the ledger does not hold any more, as `erased` events behind them say."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from domain.candidate import KIND, Erased
from infra import codec
from infra.jetstream import LedgerCorruptedError, RawMessage
from infra.jetstream.message import decode
from infra.jetstream.stream import time_ns_of

HASHED = "sha256:"
_MARK = b'"type":"%b"' % Erased.type.encode()
_HEAD = 120
"""The type stands within so many bytes of the body's beginning."""


class Left(NamedTuple):
    """What is kept of an event whose body is gone. `named_at`: the seq of the event that says so."""

    version: int
    type: str
    hash: bytes
    named_at: int


class PurgedMessage(RawMessage):
    """The place of a message that was purged, with an empty body. No message of a stream is one."""

    left: Left

    def __new__(cls, seq: int, time_ns: int, subject: str, left: Left) -> PurgedMessage:
        """`time_ns`: when the ledger first took it."""
        self = super().__new__(cls, seq, time_ns, subject, b"")
        self.left = left
        return self


def hashed(digest: bytes) -> str:
    """A SHA-256 as `erased` events have it."""
    return HASHED + digest.hex()


def named_by(prefix: str, seq: int, subject: str, body: bytes) -> list[PurgedMessage]:
    """The places that a message says were purged: events of its own record, which lie before it.

    Of one that is no `erased` event, or contradicts itself, nothing is believed.
    """
    if _MARK not in body[:_HEAD]:
        return []
    try:
        event = decode(prefix, subject, seq, body)
        name, version = str(event.originator_id), event.originator_version
        if codec.split_id(name)[0] != KIND or event.topic != Erased.type:
            return []
        clear = codec.open_newest(name, version, event.topic, orjson.loads(event.state), None).clear
        pairs = zip(clear.get("bodies") or (), clear.get("envelopes") or (), strict=True)
        found = [_place(subject, *body_, *envelope, named_at=seq) for body_, envelope in pairs]
    except (LedgerCorruptedError, ValueError, TypeError, KeyError, AttributeError):
        return []
    return found if all(0 < place.seq < seq and len(place.left.hash) == 32 for place in found) else []


def _place(subject: str, seq: int, hash_: str, version: int, type_: str, at: str, *, named_at: int) -> PurgedMessage:
    digest = bytes.fromhex(hash_.removeprefix(HASHED))
    return PurgedMessage(int(seq), time_ns_of(at), subject, Left(int(version), str(type_), digest, named_at))
