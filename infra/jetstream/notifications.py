"""The log page by page, as the library reads it: the next page is on its way while one is being handed out."""

from __future__ import annotations

import time
from threading import Lock
from typing import NamedTuple

from eventsourcing.persistence import Notification

from infra.jetstream.connection import Connection
from infra.jetstream.heads import Heads
from infra.jetstream.lane import Lane, Request
from infra.jetstream.message import take_apart
from infra.jetstream.replies import ConnectionLost
from infra.jetstream.select import PAGE, PAGE_TRY_S, more_behind, page_request, place_in, read_as
from infra.jetstream.stream import Stream

AHEAD_S = 1.0
"""A page asked for ahead is not used later than this, for its events may have been erased by another process."""


class _Ahead(NamedTuple):
    """A page that was asked for before anybody wanted it."""

    lane: Lane
    number: int
    seq: int
    limit: int
    asked_at: float


class Notifications:
    """Reads notifications from any place. Safe for use by many threads; one at a time is read ahead for."""

    def __init__(self, connection: Connection, stream: Stream, heads: Heads) -> None:
        self._connection = connection
        self._stream = stream
        self._prefix = stream.prefix.encode()
        self._heads = heads
        self._lock = Lock()
        self._ahead: _Ahead | None = None
        self._next_seq = 0

    def select(self, seq: int, limit: int, stop: int | None, topics: frozenset[str]) -> list[Notification]:
        """Up to `limit` notifications from `seq` to `stop`, of these topics or of all."""
        deadline = time.monotonic() + self._connection.request_timeout_s
        found: list[Notification] = []
        while len(found) < limit and (stop is None or seq <= stop):
            page, more = self._page(seq, PAGE if topics else min(PAGE, limit - len(found)))
            for item in page:
                if len(found) == limit or (stop is not None and item.id > stop):
                    return found
                if not topics or item.topic in topics:
                    found.append(item)
            seq = page[-1].id + 1 if page else seq
            if not more:
                late = time.monotonic() > deadline
                if self._stream.replicas == 1 or seq > self._heads.last_seq or late:
                    break
                time.sleep(0.02)  # a replica behind what this process wrote
        return found

    def forget(self) -> None:
        """Drops what was asked for ahead: it may hold what has just been erased."""
        with self._lock:
            ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.lane.close()

    def _page(self, seq: int, limit: int) -> tuple[list[Notification], bool]:
        connection, stream = self._connection, self._stream
        request = page_request(stream, None, seq, limit)
        try:
            if self._lock.acquire(blocking=False):
                try:
                    return self._in_a_row(request, seq, limit)
                finally:
                    self._lock.release()
            with connection.lanes.lane() as lane:
                page, status = lane.collect(lane.ask(request), PAGE_TRY_S, self._notification)
                return page, more_behind(stream, status) and bool(page)
        except ConnectionLost:
            return connection.call(read_as(connection, stream, request, self._notification))

    def _in_a_row(self, request: Request, seq: int, limit: int) -> tuple[list[Notification], bool]:
        ahead, self._ahead = self._ahead, None
        early = (
            ahead is not None
            and (ahead.seq, ahead.limit) == (seq, limit)
            and time.monotonic() - ahead.asked_at < AHEAD_S
        )
        lane = self._connection.lanes.take() if ahead is None else ahead.lane
        try:
            number = ahead.number if ahead is not None and early else lane.ask(request)
            if in_a_row := seq == self._next_seq:
                # Where nothing was erased, the next page begins so far on; the server works on it while we do on this.
                next_number = lane.ask(page_request(self._stream, None, seq + limit, limit))
                asked_at = time.monotonic()
            page, status = lane.collect(number, PAGE_TRY_S, self._notification)
            more = more_behind(self._stream, status) and bool(page)
            self._next_seq = page[-1].id + 1 if page else seq
            if in_a_row and more and self._next_seq == seq + limit:
                self._ahead = _Ahead(lane, next_number, self._next_seq, limit, asked_at)
        except BaseException:
            lane.close()
            raise
        if self._ahead is None:
            self._connection.lanes.give_back(lane)
        return page, more or early  # what was stored since a page was asked for is not in it

    def _notification(self, buffer: bytes, header: int, body: int, end: int) -> Notification:
        subject, text, _ = place_in(buffer, header, body)
        seq = int(text)
        return Notification(*take_apart(self._prefix, subject, seq, buffer, body, end), seq)
