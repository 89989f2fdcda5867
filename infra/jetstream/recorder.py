"""The recorders of the persistence module: `eventsourcing`'s view of the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    DataError,
    IntegrityError,
    Notification,
    StoredEvent,
    Subscription,
)

from infra.jetstream.append import Appender
from infra.jetstream.bulk import Outcome, Packer
from infra.jetstream.connection import Connection
from infra.jetstream.gate import Gate
from infra.jetstream.heads import Head, Heads
from infra.jetstream.message import LedgerCorruptedError, decode, take_apart, version_of
from infra.jetstream.notifications import Notifications
from infra.jetstream.pipeline import pipelined
from infra.jetstream.plan import plan
from infra.jetstream.quick import InDoubt, QuickAppender
from infra.jetstream.reader import LedgerReader
from infra.jetstream.replies import ConnectionLost
from infra.jetstream.select import read_all, read_behind_quickly, read_quickly
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

READS_IN_FLIGHT = 16
LEADER_TRIES, LEADER_PAUSE_S = 10, 0.2
"""So often a leader is asked that holds less than was acknowledged: it may not know yet that it is none any more."""
LOG_MESSAGES_PER_S = 100_000
LEAST_S = 1.0
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
        self.gate = gate = Gate(connection)
        known = (connection, stream, self._heads, gate)
        self._quick = QuickAppender(*known, gaps=self._gaps, ack_timeout_s=ack_timeout_s)
        self._appender = Appender(*known, gaps=self._gaps, ack_timeout_s=ack_timeout_s)

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
        messages = self._quickly(subject, gt, only_last=only_last)
        if messages is None:
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
        doubt: dict[str, int] | None = None
        try:
            seqs = self._quick.append(planned)
        except InDoubt as error:
            seqs, doubt = None, error.expected
        return seqs or self.connection.call(self._appender.append(planned, doubt), BULK_TIMEOUT_S)

    def _quickly(self, subject: str, gt: int | None, *, only_last: bool) -> list[StoredMessage] | None:
        """An aggregate's messages from the caller's own thread, or None when that needs a closer look."""
        if only_last:
            return None
        start = self._start(subject, gt)
        try:
            with self.connection.lanes.lane() as lane:
                if start > 1:
                    messages = read_behind_quickly(lane, self.stream, subject, start)
                else:
                    messages = read_quickly(lane, self.stream, subject)
        except ConnectionLost:
            return None
        return messages if self._is_current(subject, messages, start) else None

    async def _erase(self, subject: str) -> int:
        self._heads.forget(subject)
        return await erase_subject(self.connection, self.stream, subject)

    async def _messages(self, subject: str, gt: int | None = None, *, only_last: bool = False) -> list[StoredMessage]:
        if only_last:
            return await self._from_leader(subject, 1, only_last=True)
        start = self._start(subject, gt)
        messages = await read_all(self.connection, self.stream, subject) if start == 1 else None
        if messages is None or not self._is_current(subject, messages, start):
            messages = await self._from_leader(subject, start)
        return messages

    async def _from_leader(self, subject: str, start: int, *, only_last: bool = False) -> list[StoredMessage]:
        """What the leader holds.

        One that was cut off takes itself for the leader for a moment, and may hold less than this process knows of, as
        a replica may. Where it is the same after some tries, what is missing was removed.
        """
        for left in reversed(range(LEADER_TRIES if self.stream.replicas > 1 else 1)):
            if only_last:
                last = await get_message(self.connection, self.stream, last_by_subj=subject)
                messages = [] if last is None else [last]
            else:
                messages = [m async for m in scan_subject(self.connection, self.stream, subject, start)]
            if self._is_current(subject, messages, start):
                return messages
            await asyncio.sleep(LEADER_PAUSE_S if left else 0)
        self._heads.forget(subject)
        self._is_current(subject, messages, start)
        return messages

    def _start(self, subject: str, gt: int | None) -> int:
        """The seq from which on the versions above `gt` are certain to lie."""
        head = self._heads.known(subject)
        return head.seq + 1 if head is not None and gt is not None and 0 <= head.version <= gt else 1

    def _is_current(self, subject: str, messages: list[StoredMessage], start: int) -> bool:
        """Whether a read from `start` holds all that this process knows of; its end is remembered."""
        head = self._heads.known(subject)
        if head is not None and head.seq >= start and (not messages or messages[-1].seq < head.seq):
            return False
        if messages:
            last = messages[-1]
            self._heads.note(subject, Head(version_of(subject, last.seq, last.body), last.seq))
        return True

    async def _histories(self, subjects: list[str]) -> list[list[StoredMessage]] | None:
        """Each subject's messages, or None when that takes longer than to read the whole log.

        One history costs from 0.4 ms to a second: the server goes through all blocks between its first and last event,
        and nobody knows which of them are in memory. So it is tried for as long as the log would take.
        """
        within_s = None
        if len(subjects) > READS_IN_FLIGHT:
            last_seq = (await state(self.connection, self.stream))["last_seq"]
            within_s = LEAST_S + last_seq / LOG_MESSAGES_PER_S
        try:
            return await asyncio.wait_for(pipelined(subjects, self._messages, READS_IN_FLIGHT), within_s)
        except TimeoutError:
            return None

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

    def __init__(
        self, connection: Connection, stream: Stream, *, purpose: str = "events", ack_timeout_s: float = 10.0
    ) -> None:
        super().__init__(connection, stream, purpose=purpose, ack_timeout_s=ack_timeout_s)
        self._notifications = Notifications(connection, stream, self._heads)

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ARG002 - the library's signature
    ) -> Sequence[int] | None:
        """As for the aggregate recorder, but returns the ledger seqs."""
        return self._append(stored_events)

    def erase_events(self, originator_id: UUID | str) -> int:
        """As for the aggregate recorder."""
        try:
            return super().erase_events(originator_id)
        finally:
            self._notifications.forget()

    def insert_many(self, groups: Sequence[Sequence[StoredEvent]]) -> list[Outcome]:
        """Stores many groups (each one aggregate's save) fast; each is stored whole or fails alone.

        One outcome a group, in order: its ledger seqs, or its IntegrityError or DataError. Raises OperationalError
        when the ledger cannot store.
        """
        if len(groups) == 1:
            try:
                return [self._append(groups[0])]
            except (IntegrityError, DataError) as error:
                return [error]
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
        return self._notifications.select(max(seq, 1), limit, stop, frozenset(topics))

    def max_notification_id(self) -> int | None:
        """The last ledger seq, None while the ledger is empty."""
        return self.connection.call(state(self.connection, self.stream))["last_seq"] or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Events after `gt` as they are stored, each once, in order, over reconnects; blocks while there are none."""
        return LedgerSubscription(self, gt, topics)

    def notification(self, seq: int, subject: str, body: bytes) -> Notification:
        """A stored message as the library knows it."""
        return Notification(*take_apart(self.stream.prefix.encode(), subject.encode(), seq, body, 0, len(body)), seq)
