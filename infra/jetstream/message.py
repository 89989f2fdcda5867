"""The stored form of an event: one JSON document that holds everything, and no header of ours.

`{"id":"candidate-…","version":7,"type":"…","state":{…}}`. The state stands in it byte for byte when it is a JSON
object, else as `"state64":"<base64>"`. It is always the last member, so readers may slice instead of parsing.
"""

from __future__ import annotations

import base64
import re
from typing import Any, TypeGuard
from uuid import UUID

import orjson
from eventsourcing.persistence import DataError, OperationalError, StoredEvent

from infra.jetstream.subjects import originator_if_usual, originator_of

_STATE = b',"state":'
_STATE64 = b',"state64":"'
_USUAL = re.compile(rb'\{"id":"([^"\\]*)","version":(\d+),"type":"([^"\\]*)","state":(?=\{)')


LONG_NUMBER = 10  # digits, from which on a version is looked at more closely

Parts = tuple[UUID | str, int, str, bytes]
"""What `StoredEvent` and `Notification` are made of: originator id, version, topic, state."""


class LedgerCorruptedError(OperationalError):
    """What the ledger holds contradicts itself: a foreign id, a hole or a jump in an aggregate's versions."""

    def __init__(self, subject: str, seq: int, reason: str) -> None:
        super().__init__(f"the ledger is damaged at {subject}, seq {seq}: {reason}")
        self.subject = subject
        self.seq = seq


def encode(event: StoredEvent) -> bytes:
    """The body to store. Raises DataError for text that JSON cannot hold."""
    try:
        head = orjson.dumps({"id": str(event.originator_id), "version": event.originator_version, "type": event.topic})
    except TypeError as error:
        raise DataError(f"cannot store event {event.originator_version} of {event.originator_id!r}: {error}") from None
    if _is_json_object(event.state):
        return b"".join((head[:-1], _STATE, event.state, b"}"))
    return b"".join((head[:-1], _STATE64, base64.b64encode(event.state), b'"}'))


def decode(prefix: str, subject: str, seq: int, body: bytes) -> StoredEvent:
    """The event as it was given to `encode`. Raises LedgerCorruptedError when body and subject disagree."""
    return StoredEvent(*take_apart(prefix.encode(), subject.encode(), seq, body, 0, len(body)))


def take_apart(prefix: bytes, subject: bytes, seq: int, buffer: bytes, start: int, end: int) -> Parts:
    """The members of the event between `start` and `end`.

    Raises LedgerCorruptedError when body and subject disagree.
    """
    try:
        if usual := _USUAL.match(buffer, start, end):
            stored, version, topic = usual.groups()
            originator_id = originator_if_usual(prefix, subject, stored)
            if originator_id is not None and len(version) < LONG_NUMBER:
                return originator_id, int(version), topic.decode(), buffer[usual.end() : end - 1]
        originator_id = originator_of(prefix.decode(), subject.decode())
        stored_id, others = _take_apart_slowly(buffer[start:end])
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerCorruptedError(subject.decode(errors="replace"), seq, f"not an event ({error})") from error
    if stored_id != str(originator_id):
        raise LedgerCorruptedError(subject.decode(), seq, f"the event belongs to {stored_id!r}")
    return (originator_id, *others)


def _take_apart_slowly(body: bytes) -> tuple[str, tuple[int, str, bytes]]:
    # Inside the members before it every quote is escaped, so this is the state's own key and no other.
    start = body.index(b',"state')
    head = orjson.loads(body[:start] + b"}")
    if body.startswith(_STATE, start):
        state = body[start + len(_STATE) : -1]
    else:
        state = base64.b64decode(body[start + len(_STATE64) : -2], validate=True)
    if not is_version(head["version"]) or not isinstance(head["type"], str):
        raise ValueError("version or type are not what they should be")
    return head["id"], (head["version"], head["type"], state)


def is_version(value: object) -> TypeGuard[int]:
    """Whether this can be an aggregate's version: a whole number that 31 bits hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def document(body: bytes) -> dict[str, Any]:
    """The parsed body, for readers that want the members rather than the exact bytes of the state.

    A state that is not a JSON object comes as `state64`. Raises ValueError when it is not JSON.
    """
    parsed: dict[str, Any] = orjson.loads(body)
    return parsed


def version_of(subject: str, seq: int, body: bytes) -> int:
    """The version alone. Raises LedgerCorruptedError when there is none."""
    try:
        version = orjson.loads(body[: body.index(b',"state')] + b"}")["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerCorruptedError(subject, seq, f"not an event ({error})") from error
    if not is_version(version):
        raise LedgerCorruptedError(subject, seq, "not an event (its version is not a number)")
    return version


def _is_json_object(state: bytes) -> bool:
    if not (state.startswith(b"{") and state.endswith(b"}")):
        return False
    try:
        orjson.loads(state)
    except ValueError:
        return False
    return True
