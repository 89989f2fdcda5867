"""Publishing to a stream with an expectation: one message, or up to 1,000 that are stored together or not at all."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence

from infra.jetstream.connection import Connection
from infra.jetstream.lane import Request
from infra.jetstream.replies import ApiError, ConnectionLost, read_api_reply

MOST = 1_000
# A subject's last sequence is not the expected one: at commit of a batch, or because a batch is at it right now.
CONFLICTS = (10071, 10164)
# Nothing of a batch was stored: incomplete (the server waits 10 s for the rest), too many open, no leader yet.
TRY_AGAIN = (10176, 10210, 10008)
_LAST_SEQ = re.compile(r"wrong last sequence: (\d+)")
_EXPECTED = b"Nats-Expected-Last-Subject-Sequence: %d\r\n"

Message = tuple[str, bytes, int | None]
"""Subject, body, and the subject's last seq that it expects (0: none yet; None: no expectation)."""


def leaves_doubt(error: ApiError, expected: int | None) -> bool:
    """Whether, on a cluster, another server may store what this one has refused.

    A leader that was cut off and comes back is not told at once that there is a newer one. A publish then reaches
    both, and the first answer counts: the old one's refusal may come while the new one stores. Only if the refusal
    names a last seq beyond `expected` is it final, for no leader can be behind that.
    """
    if error.code not in CONFLICTS + TRY_AGAIN:
        return False
    last = _LAST_SEQ.search(error.description) if error.code == CONFLICTS[0] else None
    return last is None or expected is None or int(last[1]) <= expected


async def publish_one(
    connection: Connection, subject: str, body: bytes, expected: int | None, *, timeout_s: float, header: bytes = b""
) -> int:
    """The seq of the stored message; `header` is lines, without start and end.

    Raises ApiError when the stream refuses it, ConnectionLost when nobody knows whether it is stored.
    """
    request = one_request(subject, body, expected, header)
    reply = await connection.request(subject, body, request.header, timeout_s)
    return int(read_api_reply(reply.body)["seq"])


def one_request(subject: str, body: bytes, expected: int | None, header: bytes = b"") -> Request:
    """The publishing of one message."""
    if expected is not None:
        header += _EXPECTED % expected
    return Request(subject, b"NATS/1.0\r\n%b\r\n" % header if header else b"", body)


async def publish_batch(
    connection: Connection, messages: Sequence[Message], timeout_s: float, own: Sequence[bytes] = ()
) -> int:
    """Stores up to 1,000 messages atomically, pipelined; the last one's seq (the others stand right before it).

    Only a subject's first message may expect something. `own` as for `batch_requests`. Raises as `publish_one`.
    """
    asked = await connection.ask_all(batch_requests(messages, own))
    try:
        replies = await asyncio.wait_for(asyncio.gather(*asked), timeout_s)
    except TimeoutError:
        raise ConnectionLost(f"a batch was not acknowledged within {timeout_s:g} s") from None
    return last_of_batch(replies[0].body, replies[-1].body)


def batch_requests(messages: Sequence[Message], own: Sequence[bytes] = ()) -> list[Request]:
    """The publishing of a batch: the first and the last request are answered.

    `own` are header lines for each message besides the batch's.
    """
    start = b"NATS/1.0\r\nNats-Batch-Id: " + secrets.token_hex(6).encode() + b"\r\nNats-Batch-Sequence: "
    size = len(messages)
    requests: list[Request] = []
    for number, (subject, body, expected) in enumerate(messages, 1):
        header = b"%b%d\r\n" % (start, number)
        if own:
            header += own[number - 1]
        if expected is not None:
            header += _EXPECTED % expected
        if number == size:
            header += b"Nats-Batch-Commit: 1\r\n"
        requests.append(Request(subject, header + b"\r\n", body, answered=number in (1, size)))
    return requests


def last_of_batch(opening: bytes, closing: bytes) -> int:
    """The seq of a batch's last message, from its two replies. Raises ApiError when it was refused."""
    if opening:  # empty unless the server refused the batch; then it says why, and the last one only that it did
        read_api_reply(opening)
    return int(read_api_reply(closing)["seq"])
