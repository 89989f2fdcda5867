"""A ledger as a plain list, and a subscription that remembers what it was given: what tests compare a recorder with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent

from infra.jetstream import JetStreamApplicationRecorder

AWAIT_S = 30.0
Group = Sequence[StoredEvent]


class Model:
    """What the ledger must hold: every event ever acknowledged, without those erased."""

    def __init__(self) -> None:
        self.log: list[Notification] = []
        self.last_seq = 0

    def history(self, originator_id: UUID | str) -> list[StoredEvent]:
        """An aggregate's events."""
        return [stored(n) for n in self.log if n.originator_id == originator_id]

    def next_version(self, originator_id: UUID | str) -> int:
        """The version that follows what an aggregate holds, 1 when that is nothing."""
        history = self.history(originator_id)
        return history[-1].originator_version + 1 if history else 1

    def takes(self, group: Group, before: Sequence[StoredEvent] = ()) -> bool:
        """Whether each aggregate's versions go on from what it holds; one without events begins anywhere."""
        last = {n.originator_id: n.originator_version for n in (*self.log, *before)}
        for event in group:
            if last.get(event.originator_id, event.originator_version - 1) + 1 != event.originator_version:
                return False
            last[event.originator_id] = event.originator_version
        return True

    def add(self, seq: int, event: StoredEvent) -> None:
        """The ledger took the event at `seq`."""
        assert seq == self.last_seq + 1, "positions are given out one by one, to events that are stored"
        self.log.append(Notification(event.originator_id, event.originator_version, event.topic, event.state, seq))
        self.last_seq = seq

    def erase(self, originator_id: UUID | str) -> list[Notification]:
        """Takes an aggregate's events out, and says which."""
        gone = [n for n in self.log if n.originator_id == originator_id]
        self.log = [n for n in self.log if n.originator_id != originator_id]
        return gone

    def page(
        self, start: int | None, limit: int, stop: int | None, wanted: Sequence[str], inclusive: bool
    ) -> list[Notification]:
        """What `select_notifications` must give."""
        first = 1 if start is None else start if inclusive else start + 1
        found = [n for n in self.log if n.id >= first and (stop is None or n.id <= stop)]
        return [n for n in found if not wanted or n.topic in wanted][:limit]


def stored(n: StoredEvent) -> StoredEvent:
    """A notification without its place."""
    return StoredEvent(n.originator_id, n.originator_version, n.topic, n.state)


class Listener:
    """A subscription, read to its end on a thread."""

    def __init__(self, recorder: JetStreamApplicationRecorder, gt: int | None, wanted: Sequence[str]) -> None:
        self.gt, self.wanted = gt, (*wanted, "fence") if wanted else ()
        self.seen: list[Notification] = []
        self.erased: list[Notification] = []
        """What it may or may not have seen: erased since it began."""
        self.failure: BaseException | None = None
        self._advanced = threading.Condition()
        self._subscription = recorder.subscribe(gt, self.wanted)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for notification in self._subscription:
                with self._advanced:
                    self.seen.append(notification)
                    self._advanced.notify_all()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to; the test looks
            self.failure = error

    def caught_up(self, seq: int) -> bool:
        """Whether it was given the event at `seq`, or one behind it, within AWAIT_S."""
        with self._advanced:
            return self._advanced.wait_for(lambda: bool(self.seen) and self.seen[-1].id >= seq, AWAIT_S)

    def stop(self) -> None:
        """Ends the subscription and its thread."""
        self._subscription.stop()
        self._thread.join(AWAIT_S)
        assert not self._thread.is_alive(), "stop() ends a subscription"
