"""Many saves at once, for imports: whole groups packed into atomic batches, several of them in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eventsourcing.persistence import DataError, IntegrityError, StoredEvent

from infra.jetstream.append import Appender
from infra.jetstream.batch import MOST
from infra.jetstream.plan import Conflict, Plan, plan

Outcome = Sequence[int] | IntegrityError | DataError
IN_FLIGHT = 4
FEW = 8  # a batch costs the server as much as this many single messages


class Packer:
    """Packs groups into plans of up to 1,000 events and gives each group its own outcome."""

    def __init__(self, appender: Appender, prefix: str, max_payload: int) -> None:
        self._appender = appender
        self._prefix = prefix
        self._max_payload = max_payload
        self._outcomes: dict[int, Outcome] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def insert(self, groups: Sequence[Sequence[StoredEvent]]) -> list[Outcome]:
        """One outcome a group, in their order: its ledger seqs, or the error that this group alone suffered.

        Groups of one aggregate are stored in their order. Raises OperationalError when the ledger cannot store; then
        some groups may be stored, and inserting all of them again shows which (they conflict).
        """
        packed = Plan([], {})
        members: dict[int, Plan] = {}
        try:
            for number, group in enumerate(groups):
                try:
                    mine = plan(self._prefix, group, self._max_payload)
                except (DataError, IntegrityError) as error:
                    self._outcomes[number] = error
                    continue
                if len(packed) + len(mine) > MOST or not packed.extend(mine):
                    await self._dispatch(packed, members)
                    packed, members = Plan([], {}), {}
                    packed.extend(mine)
                members[number] = mine
            await self._dispatch(packed, members)
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
        return [self._outcomes[number] for number in range(len(groups))]

    async def _dispatch(self, packed: Plan, members: dict[int, Plan]) -> None:
        """Starts the batch once no batch in flight touches one of its aggregates."""
        rivals = {self._busy[subject] for subject in packed.runs if subject in self._busy}
        if rivals:
            await asyncio.gather(*rivals)
        while len(self._tasks) >= IN_FLIGHT:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        task = asyncio.create_task(self._store(packed, members))
        self._tasks.add(task)
        self._busy.update(dict.fromkeys(packed.runs, task))
        task.add_done_callback(lambda done: self._retire(done, packed))
        await asyncio.sleep(0)  # lets it send while the next batch is being encoded

    def _retire(self, task: asyncio.Task[None], packed: Plan) -> None:
        if not task.cancelled() and task.exception() is None:
            self._tasks.discard(task)
        for subject in packed.runs:
            if self._busy.get(subject) is task:
                del self._busy[subject]

    async def _store(self, packed: Plan, members: dict[int, Plan]) -> None:
        """All members in one batch; those in conflict drop out and the rest go again. A few go each on its own."""
        apart = len(packed.runs) == sum(len(mine.runs) for mine in members.values())
        if len(members) <= FEW and apart:
            await asyncio.gather(*(self._store_alone(number, mine) for number, mine in members.items()))
            return
        while members:
            try:
                seqs = await self._appender.append(packed)
            except Conflict as conflict:
                members, packed = self._without(members, conflict)
            else:
                start = 0
                for number, mine in members.items():
                    self._outcomes[number] = seqs[start : start + len(mine)]
                    start += len(mine)
                return

    async def _store_alone(self, number: int, mine: Plan) -> None:
        try:
            self._outcomes[number] = await self._appender.append(mine)
        except Conflict as conflict:
            self._outcomes[number] = conflict

    def _without(self, members: dict[int, Plan], conflict: Conflict) -> tuple[dict[int, Plan], Plan]:
        """Drops the first member of each aggregate in conflict: the ones after it may well fit."""
        packed = Plan([], {})
        left: dict[int, Plan] = {}
        culprits = set(conflict.subjects)
        for number, mine in members.items():
            guilty = culprits & mine.runs.keys()
            culprits -= guilty
            if not guilty and packed.extend(mine):
                left[number] = mine
            else:
                subject = min(guilty or mine.runs)  # in conflict, or behind one that is
                self._outcomes[number] = Conflict(
                    f"version {mine.runs[subject].first} does not follow what {subject} holds", frozenset(guilty)
                )
        return left, packed
