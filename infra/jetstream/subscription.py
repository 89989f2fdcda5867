"""The library's subscription on top of the log reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventsourcing.persistence import ApplicationRecorder, Notification, Subscription

from infra.jetstream.follower import RawMessage
from infra.jetstream.reader import LedgerReader

if TYPE_CHECKING:
    from infra.jetstream.recorder import JetStreamApplicationRecorder


class LedgerSubscription(Subscription[ApplicationRecorder]):
    """Blocks for the next notification until `stop()`; survives reconnects without a gap or a double."""

    def __init__(self, recorder: JetStreamApplicationRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, topics)
        self._decode = recorder.notification
        self._wanted = frozenset(topics)
        self._messages: deque[RawMessage] = deque()
        reader = LedgerReader(recorder.connection, recorder.stream)
        self._follower = reader.follow(gt or 0, max_batch=500, max_wait_s=10.0)

    def stop(self) -> None:
        """Ends the iteration at once, from any thread."""
        super().stop()
        self._follower.stop()

    def __next__(self) -> Notification:
        """The next notification. Raises StopIteration after `stop()`, OperationalError when there is no stream."""
        while not self._has_been_stopped:
            while not self._messages:
                self._messages.extend(next(self._follower))
            message = self._messages.popleft()
            self._last_notification_id = message.seq
            notification = self._decode(message.seq, message.subject, message.body)
            if not self._wanted or notification.topic in self._wanted:
                return notification
        raise StopIteration
