"""Reading stored messages by subject or position with Direct Get batches: one request, many answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TypeVar

import orjson
from eventsourcing.persistence import OperationalError

from infra.jetstream.connection import Connection
from infra.jetstream.lane import STATUS, Lane, Request
from infra.jetstream.replies import ApiError, ConnectionLost, Reply, read_api_reply
from infra.jetstream.stream import (
    NOT_FOUND,
    StoredMessage,
    Stream,
    message_of,
    original_time_ns,
    recorded_at,
    time_ns_of,
)

PAGE = 1_000
PAGE_BYTES = 32 * 1024 * 1024
PAGE_TRY_S = 5.0
# The server writes these behind the message's own headers, in this order.
_PLACE = re.compile(rb"\r\nNats-Subject: ([^\r]*)\r\nNats-Sequence: (\d+)\r\nNats-Time-Stamp: ([^\r]*)\r\n")
_NOTHING_BEHIND = b"Nats-Num-Pending: 0\r\n"

T = TypeVar("T")


def page_request(stream: Stream, subject: str | None, seq: int, limit: int = PAGE) -> Request:
    """Asks for up to `limit` messages from `seq` on, on one subject or (None) on all."""
    query: dict[str, int | str] = {"seq": max(seq, 1), "batch": limit, "max_bytes": PAGE_BYTES}
    if subject is not None:
        query["next_by_subj"] = subject
    return Request(f"$JS.API.DIRECT.GET.{stream.name}", b"", orjson.dumps(query))


def more_behind(stream: Stream, status: bytes) -> bool:
    """Whether messages wait behind a page that ended in `status`.

    Raises ConnectionLost when nobody serves the stream, OperationalError when the read was refused.
    """
    if status.startswith(b"NATS/1.0 204"):
        return _NOTHING_BEHIND not in status
    if status.startswith(b"NATS/1.0 404"):
        return False
    if status.startswith(b"NATS/1.0 503"):
        raise ConnectionLost(f"nobody serves the stream {stream.name} right now")
    raise OperationalError(f"the stream {stream.name} refuses a read: {status.decode(errors='replace').strip()}")


def place_in(buffer: bytes, header: int, body: int) -> tuple[bytes, bytes, bytes]:
    """Subject, seq and time (RFC 3339) of a message that a page brought, from its header block."""
    place = _PLACE.search(buffer, header, body)
    if place is None:
        raise OperationalError("the server sent a message without its place in the stream")
    subject, seq, time = place.groups()
    return subject, seq, time


def read_quickly(lane: Lane, stream: Stream, subject: str) -> list[StoredMessage]:
    """Every message on a subject. Raises ConnectionLost when the lane or the stream does not answer."""
    messages: list[StoredMessage] = []
    more, seq = True, 1
    while more:
        page, status = lane.collect(lane.ask(page_request(stream, subject, seq)), PAGE_TRY_S, _message)
        messages += page
        more = more_behind(stream, status) and bool(page)
        seq = messages[-1].seq + 1 if messages else seq
    return messages


def read_behind_quickly(lane: Lane, stream: Stream, subject: str, seq: int) -> list[StoredMessage]:
    """Every message on a subject from `seq` on, one by one from the leader. Raises ConnectionLost as `read_quickly`.

    For the few that came after a place that is known: a page from there on would have the server load the index of
    every block to the end of the log (0.2 to 1 s on a million messages), only to count what is pending.
    """
    messages: list[StoredMessage] = []
    while True:
        query = orjson.dumps({"seq": seq, "next_by_subj": subject})
        (answer,) = lane.exchange([Request(f"$JS.API.STREAM.MSG.GET.{stream.name}", b"", query)], PAGE_TRY_S)
        try:
            messages.append(message_of(read_api_reply(answer)))
        except ApiError as error:
            if error.code == NOT_FOUND:
                return messages
            raise ConnectionLost(f"the stream {stream.name} does not answer: {error.description}") from error
        seq = messages[-1].seq + 1


async def read_all(connection: Connection, stream: Stream, subject: str) -> list[StoredMessage]:
    """Every message on a subject."""
    messages: list[StoredMessage] = []
    more, seq = True, 1
    while more:
        page, more = await read_as(connection, stream, page_request(stream, subject, seq), _message)
        messages += page
        seq = page[-1].seq + 1 if page else seq
    return messages


async def read_as(
    connection: Connection, stream: Stream, request: Request, take: Callable[[bytes, int, int, int], T]
) -> tuple[list[T], bool]:
    """What `take` (see `Lane.collect`) makes of a page's messages, and whether there is more behind them.

    Any replica may answer, so on a cluster the newest messages may be missing. Raises ConnectionLost when no server
    answered within the connection's time-out.
    """
    deadline = connection.loop.time() + connection.request_timeout_s
    while True:
        try:
            replies, status = await _collect(connection, request)
            taken = [take((h or b"") + body, 0, len(h or b""), len(h or b"") + len(body)) for body, h in replies]
            return taken, more_behind(stream, status) and bool(taken)
        except ConnectionLost:
            if connection.loop.time() > deadline:
                raise
        await asyncio.sleep(0.05)
        await connection.wait_connected(connection.request_timeout_s)


async def _collect(connection: Connection, request: Request) -> tuple[list[Reply], bytes]:
    replies: list[Reply] = []
    end: asyncio.Future[bytes] = connection.loop.create_future()

    def sink(reply: Reply | ConnectionLost) -> None:
        if end.done():
            return
        if isinstance(reply, ConnectionLost):
            end.set_exception(reply)
        elif reply.header is None or reply.header.startswith(STATUS):
            end.set_result(reply.header or reply.body)
        else:
            replies.append(reply)

    token = await connection.ask_many(request.subject, request.body, sink)
    heard = -1
    try:
        # A history scattered over a large log may take long, as long as there is something to be heard of it.
        while not end.done() and heard < len(replies):
            heard = len(replies)
            await asyncio.wait([end], timeout=PAGE_TRY_S)
        if not end.done():
            raise ConnectionLost("the stream did not answer a read")
        return replies, end.result()
    finally:
        connection.forget(token)


def _message(buffer: bytes, header: int, body: int, end: int) -> StoredMessage:
    subject, seq, time = place_in(buffer, header, body)
    time_ns = original_time_ns(buffer[header:body], time_ns_of(time.decode()))
    return StoredMessage(int(seq), subject.decode(), buffer[body:end], recorded_at(time_ns))
