"""The access log on JetStream: who looked, in a stream of its own, one hash chain however many nodes write it.

A message holds the records that waited together, a line each (`domain.access`), so that many reads share one sync. It
is published against the stream's last sequence (`Nats-Expected-Last-Sequence`): of two nodes one is refused, reads the
head again and chains its records behind it. Single messages cannot be deleted through the server (`deny_delete`); from
the front the log is purged, once a record of that stands at its end.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from eventsourcing.persistence import OperationalError, PersistenceError

from domain.access import START, Access, Entry, Head, Outcome, Read, line_of
from domain.event import utc_now
from infra import access_reading
from infra.access_reading import Verified, entries_in, first_that, last_entry
from infra.jetstream import ApiError, Connection, ConnectionLost
from infra.jetstream.batch import CONFLICTS, publish_one
from infra.jetstream.stream import Stream, durable_settings, ensure, get_message, state

MOST_BYTES = 400_000
"""Of a message, or half of what the server takes."""
RECORD_BYTES, NAMED_BYTES = 700, 35
"""What a record takes at most, and what each person that it names adds."""
WRITE_S = 5.0
"""How long a read waits for its record; a cluster elects a leader meanwhile."""
ATTEMPTS = 20
LOOK_BACK = 1_000
RETAIN_EVERY_S = 3_600.0

log = structlog.get_logger()


class NotRecorded(Exception):
    """The access log did not confirm a record: what it is about must not be answered."""


class AccessLogLost(NotRecorded):
    """Records that this process wrote are not in the log any more."""


class _Behind(Exception):
    """A server of the cluster did not have what another says is there."""


@dataclass
class _Waiting:
    access: Access
    done: asyncio.Future[None]


class _End(NamedTuple):
    """The stream's last sequence, and the chain's head at it."""

    seq: int
    head: Head


class AccessLog:
    """The log of one ledger, in the stream `<ledger>_ACCESS`. Safe to share between threads and event loops."""

    def __init__(self, connection: Connection, ledger: Stream, *, days: int | None = None) -> None:
        """Records older than `days` are removed, now and every hour; None keeps them all."""
        self.stream = Stream(f"{ledger.name}_ACCESS", f"{ledger.prefix}_access", ledger.replicas)
        self._subject = f"{self.stream.prefix}.reads"
        self._connection = connection
        settings = durable_settings(
            self.stream, max_msgs_per_subject=-1, allow_rollup_hdrs=False, deny_delete=True, deny_purge=False
        )
        connection.call(ensure(connection, self.stream, settings))
        self._waiting: list[_Waiting] = []
        self._end: _End | None = None
        self._written: _End | None = None  # the last that was confirmed to this process
        self._writing: asyncio.Task[None] | None = None
        self.failure: str | None = None
        """Why the last record was not written; None when it was."""
        if days is not None:
            connection.post(self._retaining(timedelta(days=days)))

    async def record(self, access: Access) -> None:
        """Returns when the record is on disk. For any event loop but the connection's. Raises NotRecorded."""
        coroutine = self._enter(access)
        try:
            entering = asyncio.run_coroutine_threadsafe(coroutine, self._connection.loop)
        except RuntimeError:  # the loop is closed
            coroutine.close()
            raise NotRecorded("the connection to NATS is closed") from None
        try:
            await asyncio.wait_for(asyncio.wrap_future(entering), WRITE_S)
        except TimeoutError:
            self.failure = f"no confirmation within {WRITE_S:g} s"
            raise NotRecorded(self.failure) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # whoever asked is gone
            raise NotRecorded("the connection to NATS was closed meanwhile") from None

    def entries(self, since: datetime | None = None, until: datetime | None = None, after: int = 0) -> Iterator[Entry]:
        """As `infra.access_reading.entries`."""
        return access_reading.entries(self._connection, self.stream, since, until, after)

    def verify(self, noted: Head | None = None) -> Verified:
        """As `infra.access_reading.verify`."""
        return access_reading.verify(self._connection, self.stream, noted)

    def retain(self, age: timedelta) -> int:
        """Removes what was recorded longer ago than `age`; how many records. Raises NotRecorded, OperationalError."""
        return self._connection.call(self._retain(age))

    # ── writing, on the connection's loop ──

    async def _enter(self, access: Access) -> None:
        waiting = _Waiting(access, self._connection.loop.create_future())
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        await waiting.done

    async def _write_all(self) -> None:
        """Writes what waits, and what comes to wait meanwhile, a message at a time."""
        while self._waiting:
            if not (taken := self._take()):
                continue
            failure: str | None = None
            try:
                await self._append([waiting.access for waiting in taken])
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody may be kept waiting, or get an answer
                self._end = None
                expected = isinstance(error, NotRecorded | PersistenceError)
                failure = str(error) if expected else f"a fault in Rapport: {type(error).__name__}"
                log.error("reads not recorded", count=len(taken), reason=failure)
            self.failure = failure
            for waiting in taken:
                if not waiting.done.done():
                    waiting.done.set_result(None) if failure is None else waiting.done.set_exception(
                        NotRecorded(failure)
                    )

    def _take(self) -> list[_Waiting]:
        """As many as one message holds, of those that are still waited for."""
        limit = min(MOST_BYTES, self._connection.client.max_payload // 2)
        taken: list[_Waiting] = []
        size = 0
        while self._waiting and (not taken or size < limit):
            waiting = self._waiting.pop(0)
            if not waiting.done.done():
                taken.append(waiting)
                size += RECORD_BYTES + NAMED_BYTES * len(waiting.access.candidates)
        return taken

    async def _append(self, accesses: list[Access]) -> None:
        """Chains and stores them, all or none. Raises NotRecorded, OperationalError."""
        doubt: tuple[bytes, _End] | None = None
        for attempt in range(ATTEMPTS):
            is_last_try = attempt == ATTEMPTS - 1
            try:
                end = self._end or await self._read_end(is_last_try=is_last_try)
                if doubt is not None and end.seq >= doubt[1].seq:
                    if await self._is_at(doubt[1].seq, doubt[0], is_last_try=is_last_try):
                        self._written = doubt[1]
                        return
                    doubt = None
            except (AccessLogLost, _Behind):
                if self.stream.replicas == 1 or is_last_try:
                    raise
                self._end = None
                await asyncio.sleep(0.1)  # a leader that was cut off may answer from what it held then
                continue
            head, lines = end.head, []
            for access in accesses:
                line, head = line_of(head, access)
                lines.append(line)
            body, new = b"\n".join(lines), _End(end.seq + 1, head)
            if await self._is_stored(body, end.seq):
                self._end = self._written = new
                return
            # It may be there all the same, and whoever was asked have been cut off. Written again at the same place, it
            # would be the same message; so it is looked at again when the log goes on behind that place.
            doubt, self._end = (body, new), None
        raise NotRecorded(f"{ATTEMPTS} times in a row another node wrote first")

    async def _is_at(self, seq: int, body: bytes, *, is_last_try: bool) -> bool:
        """Whether this message stands there. Raises _Behind where a cluster finds nothing, but on the last try."""
        found = await get_message(self._connection, self.stream, seq=seq)
        if found is None and self.stream.replicas > 1 and not is_last_try:
            raise _Behind
        return found is not None and found.body == body

    async def _is_stored(self, body: bytes, last_seq: int) -> bool:
        """Whether `body` stands right behind `last_seq` now. What the server says is doubted and read back."""
        header = b"Nats-Expected-Last-Sequence: %d\r\n" % last_seq
        try:
            seq = await publish_one(self._connection, self._subject, body, None, timeout_s=WRITE_S / 2, header=header)
        except ConnectionLost:
            await self._connection.wait_connected(WRITE_S)
        except ApiError as error:
            if error.code not in CONFLICTS:
                raise
        else:
            return seq == last_seq + 1
        # An answer may be lost, and a leader that was cut off refuses what the one after it stores.
        found = await get_message(self._connection, self.stream, seq=last_seq + 1)
        return found is not None and found.body == body

    async def _read_end(self, *, is_last_try: bool) -> _End:
        """Where the log ends by now. Raises AccessLogLost when it is not the one any more that this process wrote.

        What is no record is passed over, and an emptied log begun anew: `verify` tells of both, and neither must keep
        everybody from reading. On a cluster, one server may name the end and another, cut off, not have it: then what
        is not found is no gap, and a record chained behind the last one found would stand beside the chain. Raises
        _Behind for it, but on the last try.
        """
        held = await state(self._connection, self.stream)
        seq: int = held["last_seq"]
        end = _End(seq, START)
        for at in range(seq, max(held["first_seq"] - 1, seq - LOOK_BACK, 0), -1):
            message = await get_message(self._connection, self.stream, seq=at)
            if message is None and self.stream.replicas > 1 and not is_last_try:
                raise _Behind
            if message is not None and (last := last_entry(message.body)) is not None:
                end = _End(seq, last.head)
                break
        written = self._written
        if written is not None and not await self._continues(written, end, held["first_seq"]):
            raise AccessLogLost(
                f"the access log has lost records that this node wrote, up to number {written.head.number}; note that, "
                "and restart the node to go on behind what is left"
            )
        return end

    async def _continues(self, written: _End, end: _End, first_seq: int) -> bool:
        """Whether a log that has come to `end` had come to `written` before."""
        if first_seq > written.seq:  # removed since, being old
            return end.head.number >= written.head.number
        message = await get_message(self._connection, self.stream, seq=written.seq)
        last = None if message is None else last_entry(message.body)
        return last is not None and last.head == written.head

    # ── retention ──

    async def _retaining(self, age: timedelta) -> None:
        while True:
            try:
                await self._retain(age)
            except (NotRecorded, OperationalError) as error:
                log.warning("access log not shortened, trying again", reason=str(error))
            await asyncio.sleep(RETAIN_EVERY_S)

    async def _retain(self, age: timedelta) -> int:
        before = utc_now() - age
        held = await state(self._connection, self.stream)
        if not held["messages"]:
            return 0
        first = int(held["first_seq"])
        keep = await first_that(self._connection, self.stream, lambda message: message.recorded_at >= before)
        oldest = await self._last_up_to(first, keep - 1)
        if oldest is None:
            return 0
        begins = await get_message(self._connection, self.stream, seq=first)
        numbers = [] if begins is None else [entry.number for entry in entries_in(begins.body)]
        removed = oldest.number - (numbers[0] if numbers else oldest.number) + 1
        retention = Access(
            occurred_at=utc_now(),
            role="node",
            what=Read.RETENTION,
            outcome=Outcome.SERVED,
            count=removed,
            through=oldest.number,
        )
        await self._enter(retention)  # at the end, so that the log is never empty and goes on from its own head
        await self._connection.api(f"STREAM.PURGE.{self.stream.name}", {"seq": keep})
        log.info("access log shortened", through=oldest.number, removed=removed)
        return removed

    async def _last_up_to(self, first: int, seq: int) -> Entry | None:
        """The last record that stands at `seq` or before it."""
        while seq >= first:
            message = await get_message(self._connection, self.stream, seq=seq)
            if message is not None and (last := last_entry(message.body)) is not None:
                return last
            seq -= 1
        return None
