"""Putting back what a stream has lost, each message at the seq it had, with the time it was first taken."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from infra.jetstream.connection import Connection
from infra.jetstream.replies import ConnectionLost, Reply, read_api_reply
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
    batch = b"Nats-Batch-Id: " + secrets.token_hex(6).encode()
    asked: list[asyncio.Future[Reply]] = []
    for number, (subject, body, time_ns) in enumerate(lost, 1):
        header = b"NATS/1.0" + ORIGINAL_TIME + recorded_at(time_ns).isoformat().encode()
        if number == 1:
            header += b"\r\nNats-Expected-Last-Sequence: %d" % after_seq
        header += b"\r\n%b\r\nNats-Batch-Sequence: %d" % (batch, number)
        if number == len(lost):
            header += b"\r\nNats-Batch-Commit: 1"
        if number in (1, len(lost)):
            asked.append(await connection.ask(subject, body, header + b"\r\n\r\n"))
        else:
            await connection.send(subject, body, header + b"\r\n\r\n")
    try:
        opening, closing = await asyncio.wait_for(asyncio.gather(asked[0], asked[-1]), timeout_s)
    except TimeoutError:
        raise ConnectionLost(f"a batch was not acknowledged within {timeout_s:g} s") from None
    if opening.body:  # empty unless the server refused the batch
        read_api_reply(opening.body)
    return int(read_api_reply(closing.body)["seq"])
