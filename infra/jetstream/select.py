"""Reading stored messages by subject or position with Direct Get batches: one request, many answers."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import NamedTuple

import orjson
from eventsourcing.persistence import OperationalError

from infra.jetstream.connection import Connection
from infra.jetstream.replies import ConnectionLost, Reply
from infra.jetstream.stream import StoredMessage, Stream

PAGE = 1_000
PAGE_BYTES = 32 * 1024 * 1024
PAGE_TRY_S = 5.0
_SEQ = b"Nats-Sequence: "
_SUBJECT = b"Nats-Subject: "
_TIME = b"Nats-Time-Stamp: "


class Page(NamedTuple):
    """Messages in order, and whether the server has more behind them."""

    messages: list[StoredMessage]
    more: bool


async def read_page(connection: Connection, stream: Stream, subject: str, seq: int, limit: int = PAGE) -> Page:
    """Up to `limit` messages whose subject matches, from `seq` on.

    Any replica may answer, so on a cluster the newest messages may be missing. Raises ConnectionLost when no server
    answered within the connection's time-out.
    """
    deadline = connection.loop.time() + connection.request_timeout_s
    while True:
        try:
            return await _try_page(connection, stream, subject, seq, limit)
        except ConnectionLost:
            if connection.loop.time() > deadline:
                raise
        await asyncio.sleep(0.05)
        await connection.wait_connected(connection.request_timeout_s)


async def read_all(connection: Connection, stream: Stream, subject: str, seq: int = 1) -> list[StoredMessage]:
    """Every message whose subject matches, from `seq` on."""
    messages: list[StoredMessage] = []
    more = True
    while more:
        page, more = await read_page(connection, stream, subject, seq)
        messages += page
        seq = page[-1].seq + 1 if page else seq
    return messages


async def _try_page(connection: Connection, stream: Stream, subject: str, seq: int, limit: int) -> Page:
    messages: list[StoredMessage] = []
    end: asyncio.Future[bytes] = connection.loop.create_future()

    def sink(reply: Reply | ConnectionLost) -> None:
        if end.done():
            return
        if isinstance(reply, ConnectionLost):
            end.set_exception(reply)
        elif reply.header is None or reply.header.startswith(b"NATS/1.0 "):
            end.set_result(reply.header or reply.body)
        else:
            messages.append(_message(reply.header, reply.body))

    request = {"next_by_subj": subject, "seq": max(seq, 1), "batch": limit, "max_bytes": PAGE_BYTES}
    token = await connection.ask_many(f"$JS.API.DIRECT.GET.{stream.name}", orjson.dumps(request), sink)
    try:
        status = await asyncio.wait_for(end, PAGE_TRY_S)
    except TimeoutError:
        raise ConnectionLost(f"the stream {stream.name} did not answer a read") from None
    finally:
        connection.forget(token)
    if status.startswith(b"NATS/1.0 204"):
        return Page(messages, more=b"Nats-Num-Pending: 0\r\n" not in status and bool(messages))
    if status.startswith(b"NATS/1.0 404"):
        return Page(messages, more=False)
    if status.startswith(b"NATS/1.0 503"):
        raise ConnectionLost(f"nobody serves the stream {stream.name} right now")
    raise OperationalError(f"the stream {stream.name} refuses a read: {status.decode(errors='replace').strip()}")


def _message(header: bytes, body: bytes) -> StoredMessage:
    subject, recorded_at = _field(header, _SUBJECT), datetime.fromisoformat(_field(header, _TIME))
    return StoredMessage(int(_field(header, _SEQ)), subject, body, recorded_at)


def _field(header: bytes, name: bytes) -> str:
    at = header.index(name) + len(name)
    return header[at : header.index(b"\r", at)].decode()
