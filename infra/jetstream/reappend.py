"""Putting back what a stream has lost, each message at the seq it had, with the time it was first taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from infra.jetstream.batch import publish_batch
from infra.jetstream.connection import Connection
from infra.jetstream.stream import ORIGINAL_TIME, recorded_at


class Lost(NamedTuple):
    """A message to put back."""

    subject: str
    body: bytes
    time_ns: int


async def reappend(connection: Connection, lost: Sequence[Lost], after_seq: int, timeout_s: float) -> int:
    """Stores up to 1,000 messages right behind `after_seq`, all or none; the last one's seq.

    Raises ApiError when the stream's last seq is another, ConnectionLost when nobody knows whether they are stored:
    then the stream's last seq says so.
    """
    own = [ORIGINAL_TIME[2:] + recorded_at(each.time_ns).isoformat().encode() + b"\r\n" for each in lost]
    own[0] += b"Nats-Expected-Last-Sequence: %d\r\n" % after_seq
    return await publish_batch(connection, [(each.subject, each.body, None) for each in lost], timeout_s, own)
