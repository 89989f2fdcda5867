"""The recorders of the persistence module: `eventsourcing`'s view of the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    Notification,
    StoredEvent,
    Subscription,
)

from infra.jetstream.append import Appender
from infra.jetstream.bulk import Outcome, Packer
from infra.jetstream.connection import Connection
from infra.jetstream.heads import Head, Heads
from infra.jetstream.message import LedgerCorruptedError, decode, version_of
from infra.jetstream.pipeline import pipelined
from infra.jetstream.plan import plan
from infra.jetstream.reader import LedgerReader
from infra.jetstream.select import read_all, read_page
from infra.jetstream.stream import (
    StoredMessage,
    Stream,
    erase_subject,
    get_message,
    recorded_at,
    scan_subject,
    state,
)
from infra.jetstream.subjects import subject_of
from infra.jetstream.subscription import LedgerSubscription

READS_IN_FLIGHT = 64
FEW = 100
# The server scans a block of 8 MB for each but the first of an aggregate's events in it, so that one history takes
# 1 to 12 ms, in which the log is read at 100 messages a millisecond.
MESSAGES_A_READ = 300
BULK_TIMEOUT_S = 3_600.0


class JetStreamAggregateRecorder(AggregateRecorder):
    """Stores and selects the events of aggregates. Safe for use by many threads.

    With `purpose="snapshots"` an aggregate's versions need only rise; for events each follows the one before, both
    when writing (IntegrityError) and when reading (LedgerCorruptedError).
    """

    def __init__(
        self, connection: Connection, stream: Stream, *, purpose: str = "events", ack_timeout_s: float = 10.0
    ) -> None:
        self.connection = connection
        self.stream = stream
        self._gaps = purpose == "snapshots"
        self._heads = Heads(connection, stream)
        self._appender = Appender(connection, stream, self._heads, gaps=self._gaps, ack_timeout_s=ack_timeout_s)

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ARG002 - the library's signature
    ) -> Sequence[int] | None:
        """Stores all events or none, durably. Returns None.

        Raises IntegrityError when an aggregate has moved on, DataError for what can never be stored (over 1,000
        events, over the server's message size), OperationalError when the ledger did not confirm.
        """
        self._append(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """An aggregate's events, at least all that this process has stored.

        Raises LedgerCorruptedError when one of them is missing or not what its subject says.
        """
        subject = subject_of(self.stream.prefix, originator_id)
        only_last = desc and limit == 1 and lte is None
        messages = self.connection.call(self._messages(subject, gt, only_last=only_last))
        events = self._decode(subject, messages)
        events = [
            event
            for event in events
            if (gt is None or event.originator_version > gt) and (lte is None or event.originator_version <= lte)
        ]
        if desc:
            events.reverse()
        return events if limit is None else events[:limit]

    def read_many(self, originator_ids: Sequence[UUID | str]) -> list[list[tuple[StoredMessage, StoredEvent]]]:
        """Each aggregate's events with where and when the stream holds them; all aggregates at once.

        Raises LedgerCorruptedError as `select_events` does.
        """
        subjects = [subject_of(self.stream.prefix, id_) for id_ in originator_ids]
        found = self.connection.call(self._histories(subjects), BULK_TIMEOUT_S)
        if found is None:
            found = self._sift(subjects)
        return [
            list(zip(messages, self._decode(subject, messages), strict=True))
            for subject, messages in zip(subjects, found, strict=True)
        ]

    def erase_events(self, originator_id: UUID | str) -> int:
        """Overwrites all of an aggregate's stored messages on disk and removes them; how many there were."""
        subject = subject_of(self.stream.prefix, originator_id)
        return self.connection.call(self._erase(subject), BULK_TIMEOUT_S)

    def _append(self, stored_events: Sequence[StoredEvent]) -> list[int]:
        if not stored_events:
            return []
        planned = plan(self.stream.prefix, stored_events, self.connection.client.max_payload, gaps=self._gaps)
        return self.connection.call(self._appender.append(planned), BULK_TIMEOUT_S)

    async def _erase(self, subject: str) -> int:
        self._heads.forget(subject)
        return await erase_subject(self.connection, self.stream, subject)

    async def _messages(self, subject: str, gt: int | None = None, *, only_last: bool = False) -> list[StoredMessage]:
        if only_last:
            only = await get_message(self.connection, self.stream, last_by_subj=subject)
            return [] if only is None else [only]
        head = self._heads.known(subject)
        start = head.seq + 1 if head is not None and gt is not None and 0 <= head.version <= gt else 1
        messages = await read_all(self.connection, self.stream, subject, start)
        if head is not None and max(head.seq, start - 1) > (messages[-1].seq if messages else start - 1):
            # A replica that lags behind what this process knows; the leader does not.
            self._heads.forget(subject)
            messages = [m async for m in scan_subject(self.connection, self.stream, subject, start)]
        if messages:
            last_message = messages[-1]
            version = version_of(subject, last_message.seq, last_message.body)
            self._heads.note(subject, Head(version, last_message.seq))
        return messages

    async def _histories(self, subjects: list[str]) -> list[list[StoredMessage]] | None:
        """Each subject's messages, or None when that would take longer than to read the whole log."""
        existing = set(subjects)
        if len(subjects) > FEW:
            heads = await pipelined(subjects, self._heads.read, READS_IN_FLIGHT)
            existing = {subject for subject, head in zip(subjects, heads, strict=True) if head.seq}
            if len(existing) * MESSAGES_A_READ > self._heads.last_seq:
                return None

        async def read(subject: str) -> list[StoredMessage]:
            return await self._messages(subject) if subject in existing else []

        return await pipelined(subjects, read, READS_IN_FLIGHT)

    def _sift(self, subjects: list[str]) -> list[list[StoredMessage]]:
        found: dict[str, list[StoredMessage]] = {subject: [] for subject in subjects}
        for batch in LedgerReader(self.connection, self.stream).read_batches(0, 5_000):
            for seq, time_ns, subject, body in batch:
                if subject in found:
                    found[subject].append(StoredMessage(seq, subject, body, recorded_at(time_ns)))
        return [found[subject] for subject in subjects]

    def _decode(self, subject: str, messages: list[StoredMessage]) -> list[StoredEvent]:
        events: list[StoredEvent] = []
        for message in messages:
            event = decode(self.stream.prefix, subject, message.seq, message.body)
            before = events[-1].originator_version if events else None
            version = event.originator_version
            if before is not None and version != before + 1 and not (self._gaps and version > before):
                raise LedgerCorruptedError(subject, message.seq, f"version {version} stands behind version {before}")
            events.append(event)
        return events


class JetStreamApplicationRecorder(JetStreamAggregateRecorder, ApplicationRecorder):
    """The ledger: aggregates' events, and their order over all aggregates (a notification id is the ledger seq)."""

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ARG002 - the library's signature
    ) -> Sequence[int] | None:
        """As for the aggregate recorder, but returns the ledger seqs."""
        return self._append(stored_events)

    def insert_many(self, groups: Sequence[Sequence[StoredEvent]]) -> list[Outcome]:
        """Stores many groups (each one aggregate's save) fast; each is stored whole or fails alone.

        One outcome a group, in order: its ledger seqs, or its IntegrityError or DataError. Raises OperationalError
        when the ledger cannot store.
        """
        packer = Packer(self._appender, self.stream.prefix, self.connection.client.max_payload)
        return self.connection.call(packer.insert(groups), BULK_TIMEOUT_S)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Up to `limit` events in ledger order, from `start` to `stop`, of these topics or of all."""
        seq = 1 if start is None else start + (0 if inclusive_of_start else 1)
        return self.connection.call(self._notifications(max(seq, 1), limit, stop, frozenset(topics)))

    def max_notification_id(self) -> int | None:
        """The last ledger seq, None while the ledger is empty."""
        return self.connection.call(state(self.connection, self.stream))["last_seq"] or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Events after `gt` as they are stored, each once, in order, over reconnects; blocks while there are none."""
        return LedgerSubscription(self, gt, topics)

    def notification(self, seq: int, subject: str, body: bytes) -> Notification:
        """A stored message as the library knows it."""
        event = decode(self.stream.prefix, subject, seq, body)
        return Notification(event.originator_id, event.originator_version, event.topic, event.state, seq)

    async def _notifications(
        self, seq: int, limit: int, stop: int | None, topics: frozenset[str]
    ) -> list[Notification]:
        wanted = f"{self.stream.prefix}.>"
        deadline = self.connection.loop.time() + self.connection.request_timeout_s
        found: list[Notification] = []
        while len(found) < limit and (stop is None or seq <= stop):
            page, more = await read_page(self.connection, self.stream, wanted, seq, limit if not topics else 1_000)
            for message in page:
                if len(found) == limit or (stop is not None and message.seq > stop):
                    return found
                item = self.notification(message.seq, message.subject, message.body)
                if not topics or item.topic in topics:
                    found.append(item)
            seq = page[-1].seq + 1 if page else seq
            if not more:
                late = self.connection.loop.time() > deadline
                if self.stream.replicas == 1 or seq > self._heads.last_seq or late:
                    break
                await asyncio.sleep(0.02)  # a replica behind what this process wrote
        return found
