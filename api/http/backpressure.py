"""What keeps recording from running away from what it rests on: whoever comes too early is asked to come again."""

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
from anyio.to_thread import run_sync

from api.node import Node

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 16
"""Threads that record. Reads have their own, and go on while many record."""
MOST_WAITING = 256
"""Requests that wait for one of them."""


class ComeAgain(Exception):
    """Nothing was recorded, and nothing is lost: the same again in `retry_after_s`."""

    def __init__(self, code: str, said: str, retry_after_s: int) -> None:
        super().__init__(f"{said}; nothing of this request was recorded, send it again in {retry_after_s} s")
        self.code, self.retry_after_s = code, retry_after_s


class Stopping(Exception):
    """The node stops while a body comes in: what was recorded of it stays so, and the whole may be sent again."""

    def __init__(self) -> None:
        super().__init__("the node is stopping; what has an outcome is recorded, and all may be sent again in 5 s")


class Turns:
    """Who records next."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._last_seq = 0

    def enter(self) -> None:
        """Asked once a request, before anything of it is recorded. Raises ComeAgain."""
        if self._limiter.statistics().tasks_waiting >= MOST_WAITING:
            raise ComeAgain("busy", "too many requests are recording at a time", 1)
        most, behind = self._node.settings.max_behind_events, self._last_seq - self._node.projector.mirrored
        if most and behind > most:
            raise ComeAgain("views-behind", f"the views are {behind:,} events behind the ledger", 10)

    def note(self, seq: int) -> None:
        """The ledger has come to this position at least."""
        self._last_seq = max(self._last_seq, seq)

    async def run(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What the function answers, on a thread, when it is its turn."""
        return await run_sync(partial(function, *args, **named), limiter=self._limiter)
