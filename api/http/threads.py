"""Threads for what must not wait until one of those is free that all synchronous routes share."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

DELIVERIES, TOKENS, WATCHING = 8, 8, 2
MOST_WAITING = 32
"""Who wait for a copy while one is being written."""

_Done = TypeVar("_Done")


class Threads:
    """Of one application: how many threads each kind of work has. Who waits for one is a task, and holds none."""

    def __init__(self) -> None:
        self.deliveries = CapacityLimiter(DELIVERIES)
        """Verify providers' deliveries."""
        self.tokens = CapacityLimiter(TOKENS)
        """Verify tokens of the identity provider, whose keys one of them may be fetching."""
        self.health = CapacityLimiter(WATCHING)
        """Look whether the node can do its work."""
        self.figures = CapacityLimiter(WATCHING)
        """Gather what a node measures, which asks the server."""
        self.copies = Copies()


class Copies:
    """Writes copies for others: one at a time, for the event loop that asks first."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(1)
        self._asked = 0

    @property
    def is_full(self) -> bool:
        """Whether as many wait as may."""
        return self._asked > MOST_WAITING

    def begin(self, work: Callable[[], _Done]) -> asyncio.Task[_Done]:
        """Does the work when it is its turn."""
        self._asked += 1
        task = asyncio.get_running_loop().create_task(run_sync(work, limiter=self._limiter))
        task.add_done_callback(self._over)
        return task

    def _over(self, _task: object) -> None:
        self._asked -= 1
