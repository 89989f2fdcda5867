"""The usual append: what it follows is known and nobody interferes. One attempt, from the caller's own thread.

Appends of single events that come in while others are under way go together, as the next group: pipelined, or as one
atomic batch when they are many. (Batches cost the server some 2.5 ms whatever their size, a single event 0.3 ms.)
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import BoundedSemaphore, Lock

from infra.jetstream.batch import MOST, batch_requests, last_of_batch, leaves_doubt, one_request
from infra.jetstream.connection import Connection
from infra.jetstream.gate import Gate
from infra.jetstream.heads import EMPTY, Head, Heads
from infra.jetstream.plan import Plan
from infra.jetstream.replies import ApiError, ConnectionLost, read_api_reply
from infra.jetstream.stream import Stream

FEW = 10  # up to so many go quicker one by one
BATCHES_IN_FLIGHT = 12  # the server allows 50 a stream, over all processes


_NOBODY_WAITS = Lock()


class InDoubt(Exception):
    """The append may be stored or not. `expected` is what it expected to follow, by subject."""

    def __init__(self, expected: dict[str, int]) -> None:
        super().__init__("the outcome of an append is unknown")
        self.expected = expected


class _Turn:
    """One thread's event on its way into a group."""

    __slots__ = ("body", "expected", "in_doubt", "leads", "seq", "signal", "subject")

    def __init__(self, subject: str, body: bytes, expected: int) -> None:
        self.subject = subject
        self.body = body
        self.expected = expected
        self.leads = False
        self.seq: int | None = None
        self.in_doubt = False
        self.signal = _NOBODY_WAITS


class QuickAppender:
    """Tries an append once. Safe for use by many threads."""

    def __init__(
        self, connection: Connection, stream: Stream, heads: Heads, gate: Gate, *, gaps: bool, ack_timeout_s: float
    ) -> None:
        self._connection = connection
        self._gate = gate
        self._replicated = stream.replicas > 1
        self._heads = heads
        self._gaps = gaps
        self._ack_timeout_s = ack_timeout_s
        self._batches = BoundedSemaphore(BATCHES_IN_FLIGHT)
        self._lock = Lock()
        self._waiting: list[_Turn] = []
        self._led = False

    def append(self, plan: Plan) -> list[int] | None:
        """The ledger seqs, or None when nothing is stored and the append needs a closer look. Raises InDoubt."""
        expected = self._expected(plan)
        if expected is None:
            return None
        if len(plan) == 1:
            ((subject, body),) = plan.messages
            last_seq = self._in_turn(_Turn(subject, body, expected[subject]))
        else:
            last_seq = self._alone(plan, expected)
        if last_seq is None:
            return None
        seqs = list(range(last_seq - len(plan) + 1, last_seq + 1))
        for run in plan.runs.values():
            self._heads.note(run.subject, Head(run.last, seqs[run.positions[-1]]))
        return seqs

    def _expected(self, plan: Plan) -> dict[str, int] | None:
        """What each run follows as far as this process knows; None when it does not."""
        expected: dict[str, int] = {}
        for run in plan.runs.values():
            head = self._heads.known(run.subject)
            if head is None and not self._gaps and run.first in (0, 1):
                head = EMPTY  # most likely a new aggregate; if not, the server says so
            if head is None or not head.precedes(run.first, gaps=self._gaps):
                return None
            expected[run.subject] = head.seq
        return expected

    def _alone(self, plan: Plan, expected: dict[str, int]) -> int | None:
        todo = dict(expected)
        messages = [(subject, body, todo.pop(subject, None)) for subject, body in plan.messages]
        try:
            with self._batches, self._connection.lanes.lane() as lane:
                if not self._gate.is_open:
                    return None
                opening, closing = lane.exchange(batch_requests(messages), self._ack_timeout_s)
                return last_of_batch(opening, closing)
        except ApiError as error:
            if self._leaves_doubt(error, None):
                raise InDoubt(expected) from None
            return None
        except ConnectionLost:
            raise InDoubt(expected) from None

    def _in_turn(self, mine: _Turn) -> int | None:
        """Leads the group that has gathered, or waits for who leads it."""
        with self._lock:
            self._waiting.append(mine)
            mine.leads, self._led = not self._led, True
            if not mine.leads:
                mine.signal = Lock()
                mine.signal.acquire()
        if not mine.leads:
            try:
                mine.signal.acquire()
            except BaseException:
                self._withdraw(mine)
                raise
        if mine.leads:
            with self._lock:
                group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            try:
                self._store(group)
            finally:
                self._pass_on(group, mine)
        if mine.in_doubt:
            raise InDoubt({mine.subject: mine.expected})
        return mine.seq

    def _withdraw(self, mine: _Turn) -> None:
        """For a thread that is interrupted while it waits: nobody may wait for it to lead."""
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
        if mine.leads:
            self._pass_on((), mine)

    def _pass_on(self, group: Sequence[_Turn], mine: _Turn) -> None:
        with self._lock:
            heir = self._waiting[0] if self._waiting else None
            self._led = heir is not None
            if heir is not None:
                heir.leads = True
        if heir is not None:
            heir.signal.release()
        for turn in group:
            if turn is not mine:
                turn.signal.release()

    def _store(self, group: Sequence[_Turn]) -> None:
        """Gives every turn its seq, or doubt, or nothing."""
        rivals = len({turn.subject for turn in group}) < len(group)  # which would have a whole batch refused
        try:
            with self._connection.lanes.lane() as lane:
                if not self._gate.is_open:
                    return
                for turn in group:
                    turn.in_doubt = True
                if len(group) > FEW and not rivals:
                    messages = [(turn.subject, turn.body, turn.expected) for turn in group]
                    opening, closing = lane.exchange(batch_requests(messages), self._ack_timeout_s)
                    try:
                        last_seq = last_of_batch(opening, closing)
                    except ApiError as error:
                        if self._leaves_doubt(error, None):
                            return
                        # Somebody in it is in conflict; alone the others are not.
                    else:
                        for number, turn in enumerate(group, 1):
                            turn.seq, turn.in_doubt = last_seq - len(group) + number, False
                        return
                requests = [one_request(turn.subject, turn.body, turn.expected) for turn in group]
                for turn, reply in zip(group, lane.exchange(requests, self._ack_timeout_s), strict=True):
                    try:
                        turn.seq = int(read_api_reply(reply)["seq"])
                        turn.in_doubt = False
                    except ApiError as error:
                        turn.in_doubt = self._leaves_doubt(error, turn.expected)
        except ConnectionLost:
            return

    def _leaves_doubt(self, error: ApiError, expected: int | None) -> bool:
        return self._replicated and leaves_doubt(error, expected)
