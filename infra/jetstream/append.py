"""Appending: one event as a plain publish, several as an atomic batch, and never a second time by mistake."""

from __future__ import annotations

import asyncio

from eventsourcing.persistence import OperationalError

from infra.jetstream.batch import CONFLICTS, TRY_AGAIN, leaves_doubt, publish_batch, publish_one
from infra.jetstream.connection import Connection
from infra.jetstream.gate import Gate
from infra.jetstream.heads import EMPTY, Head, Heads
from infra.jetstream.plan import Conflict, Plan
from infra.jetstream.replies import ApiError, ConnectionLost
from infra.jetstream.stream import Stream, scan_subject

ATTEMPTS = 3  # at least, and for so many times as long as an acknowledgement may take: a cluster elects in 4 to 9 s
PATIENCE = 2.0
LONGEST_PAUSE_S = 0.5
BATCHES_IN_FLIGHT = 12  # the server allows 50 a stream, over all processes


class Appender:
    """Appends to one stream through one connection. Its coroutines run on the connection's loop.

    With `gaps` an aggregate's versions need only rise (snapshots); without, each must follow the one before.
    """

    def __init__(
        self, connection: Connection, stream: Stream, heads: Heads, gate: Gate, *, gaps: bool, ack_timeout_s: float
    ) -> None:
        self._connection = connection
        self._gate = gate
        self._stream = stream
        self._heads = heads
        self._gaps = gaps
        self._ack_timeout_s = ack_timeout_s
        self._slots = asyncio.Semaphore(BATCHES_IN_FLIGHT)

    async def append(self, plan: Plan, published: dict[str, int] | None = None) -> list[int]:
        """Stores the whole plan or nothing of it; the ledger seqs, in the plan's order.

        `published` is what an attempt before expected to follow, by subject, if nobody knows how that ended.

        Raises Conflict when an aggregate has moved on, OperationalError when the outcome stayed unknown or the server
        cannot store. A lost acknowledgement is resolved by reading back what the ledger holds.
        """
        loop = self._connection.loop
        give_up_at = loop.time() + PATIENCE * self._ack_timeout_s
        attempts = 0
        while True:
            conflict: Conflict | None = None
            try:
                expected = await self._expect(plan, fresh=attempts > 0)
                try:
                    last_seq = await self._publish(plan, expected)
                except ConnectionLost:
                    published = expected
                    raise
                except ApiError as error:
                    published = expected if self._leaves_doubt(error, expected) else published
                    raise
                return self._settle(plan, list(range(last_seq - len(plan) + 1, last_seq + 1)))
            except ConnectionLost as error:
                trouble: Exception = error
                await asyncio.sleep(min(0.1 * 2**attempts, LONGEST_PAUSE_S))
                await self._connection.wait_connected(self._ack_timeout_s)
            except ApiError as error:
                trouble = error
                if error.code in TRY_AGAIN:
                    await asyncio.sleep(min(0.02 * 2**attempts, LONGEST_PAUSE_S))
                elif error.code not in CONFLICTS:
                    raise OperationalError(
                        f"the ledger cannot store: {error.description} (what it had begun to store may be there)"
                    ) from error
            except Conflict as error:
                trouble = conflict = error
            attempts += 1
            try:
                stored = None if published is None else await self._read_back(plan, published)
            except ConnectionLost as error:
                trouble, conflict, stored = error, None, None
            if stored is not None:
                return self._settle(plan, stored)
            if conflict is not None:
                raise conflict
            if attempts >= ATTEMPTS and loop.time() > give_up_at:
                raise OperationalError(
                    f"the append was not confirmed after {attempts} attempts: {trouble}"
                ) from trouble

    def _leaves_doubt(self, error: ApiError, expected: dict[str, int]) -> bool:
        seq = next(iter(expected.values())) if len(expected) == 1 else None
        return self._stream.replicas > 1 and leaves_doubt(error, seq)

    async def _expect(self, plan: Plan, *, fresh: bool) -> dict[str, int]:
        """The seq that each run's first message expects to follow; `fresh` asks the leader, whatever is remembered."""
        runs = plan.runs.values()
        heads = {run.subject: None if fresh else self._heads.known(run.subject) for run in runs}
        for run in runs:
            head = heads[run.subject]
            if head is None and not fresh and not self._gaps and run.first in (0, 1):
                # Most likely a new aggregate. If not, the server says so and the next attempt knows better.
                heads[run.subject] = EMPTY
            elif head is not None and not head.precedes(run.first, gaps=self._gaps):
                heads[run.subject] = None  # others may have written since
        unknown = [subject for subject, head in heads.items() if head is None]
        for subject, read in zip(unknown, await asyncio.gather(*map(self._heads.read, unknown)), strict=True):
            heads[subject] = read
        expected: dict[str, int] = {}
        stale: list[str] = []
        for run in runs:
            head = heads[run.subject]
            if head is None or not head.precedes(run.first, gaps=self._gaps):
                stale.append(run.subject)
            else:
                expected[run.subject] = head.seq
        if stale:
            run, head = plan.runs[stale[0]], heads[stale[0]]
            at = "nothing" if head is None or head.seq == 0 else f"version {head.version}"
            raise Conflict(
                f"version {run.first} does not follow {at} on {run.subject}"
                + (f" (and {len(stale) - 1} more aggregates)" if len(stale) > 1 else ""),
                frozenset(stale),
            )
        return expected

    async def _publish(self, plan: Plan, expected: dict[str, int]) -> int:
        """The last message's seq. Raises ApiError, or ConnectionLost when nobody knows whether it is stored."""
        if len(plan) == 1:
            subject, body = plan.messages[0]
            await self._gate.passed()
            return await publish_one(self._connection, subject, body, expected[subject], timeout_s=self._ack_timeout_s)
        todo = dict(expected)
        messages = [(subject, body, todo.pop(subject, None)) for subject, body in plan.messages]
        async with self._slots:
            await self._gate.passed()
            return await publish_batch(self._connection, messages, self._ack_timeout_s)

    async def _read_back(self, plan: Plan, expected: dict[str, int]) -> list[int] | None:
        """The seqs if the ledger holds this plan, byte for byte, behind what it expected to follow; else None.

        Raises ConnectionLost when the answer is older than what is known (a leader that was deposed without noticing).
        """
        seqs: dict[int, int] = {}
        for run in plan.runs.values():
            seq = expected[run.subject]
            messages = scan_subject(self._connection, self._stream, run.subject, seq + 1)
            for position in run.positions:
                message = await anext(messages, None)
                if message is None:
                    head = self._heads.known(run.subject)
                    if head is not None and head.seq > seq:
                        raise ConnectionLost(f"the leader of {self._stream.name} is behind")
                    return None
                if message.body != plan.messages[position][1]:
                    return None
                seqs[position] = seq = message.seq
        return [seqs[position] for position in range(len(plan))]

    def _settle(self, plan: Plan, seqs: list[int]) -> list[int]:
        for run in plan.runs.values():
            self._heads.note(run.subject, Head(run.last, seqs[run.positions[-1]]))
        return seqs
