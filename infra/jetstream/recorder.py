"""The recorders of the persistence module: `eventsourcing`'s view of the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from infra.jetstream.heads import Heads
from infra.jetstream.histories import Broken, History, HistoryReader
from infra.jetstream.message import take_apart
from infra.jetstream.notifications import Notifications
from infra.jetstream.plan import plan
from infra.jetstream.quick import InDoubt, QuickAppender
from infra.jetstream.stream import Stream, erase_subject, state
from infra.jetstream.subjects import subject_of
from infra.jetstream.subscription import LedgerSubscription

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
        self._reading = HistoryReader(connection, stream, self._heads, gaps=self._gaps)
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
        events = self._reading.events(subject, gt, only_last=only_last)
        events = [
            event
            for event in events
            if (gt is None or event.originator_version > gt) and (lte is None or event.originator_version <= lte)
        ]
        if desc:
            events.reverse()
        return events if limit is None else events[:limit]

    def read_many(self, originator_ids: Sequence[UUID | str]) -> list[History | Broken]:
        """Each aggregate's events with where and when the stream holds them; all aggregates at once.

        One with an event that is missing or not what its subject says is `Broken`, and leaves the others alone.
        """
        return self._reading.many([subject_of(self.stream.prefix, id_) for id_ in originator_ids])

    def go_on(self, known: Mapping[str, History]) -> dict[str, History]:
        """Histories that were read before, with what the ledger's leader holds behind them by now.

        For events, whose versions have no gaps: their number tells whether there is more. What is not just gone on
        with (fewer events than known, many more, a hole) is left out, and is to be read whole.
        """
        return self._reading.go_on({subject_of(self.stream.prefix, id_): id_ for id_ in known}, known)

    def read_at(self, places: Mapping[str, Sequence[int]]) -> dict[str, History]:
        """Whole histories by the seqs at which their events are thought to lie, and what lies behind: quicker than
        `read_many` where they are scattered over a log that is not in memory. What does not fit is left out."""
        subjects = {subject_of(self.stream.prefix, id_): id_ for id_ in places}
        found = self._reading.at({subject: places[id_] for subject, id_ in subjects.items()})
        return {subjects[subject]: history for subject, history in found.items()}

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

    async def _erase(self, subject: str) -> int:
        self._heads.forget(subject)
        return await erase_subject(self.connection, self.stream, subject)


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
