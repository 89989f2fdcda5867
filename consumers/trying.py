"""How often deliveries have failed on this node for reasons of their own.

The server counts how often it handed one out, and that is something else: it also did so while the ledger was away, to
a node that was stopped, and again because recording took long. So what is given up after so many attempts is counted
here, anew after a start and by each node for itself.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.ingest import IN_FLIGHT

POISON_ATTEMPTS = 5
"""So often is a delivery tried that seems to be what breaks us; trouble of ours is waited for as long as it lasts."""
UNOPENED_ATTEMPTS = 8
"""So often, over two minutes, is a delivery tried that cannot be opened: a key may be on its way to this server."""
EARLY_FOR_S = 16 * 3_600.0
"""For so long a delivery waits for another that it has perhaps overtaken: Greenhouse sends one again over 15 hours."""
EARLY_AT_ONCE = 1_000
"""So many wait so long: each is one of `IN_FLIGHT`, and nobody else is to be held up. Others are tried as often as
poison."""


@dataclass
class _Tried:
    since_s: float
    failures: int = 0
    early: bool = False


class Tries:
    """For one thread at a time. A delivery is known by its place in the queue."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tried: dict[int, _Tried] = {}

    def failures(self, seq: int) -> int:
        """How often it has failed."""
        return self._tried[seq].failures if seq in self._tried else 0

    def note(self, seq: int, *, early: bool = False) -> None:
        """It failed, and waits; with `early` for another that it has perhaps overtaken."""
        tried = self._tried.setdefault(seq, _Tried(self._clock()))
        tried.failures += 1
        tried.early = early
        if len(self._tried) > IN_FLIGHT:
            del self._tried[next(iter(self._tried))]

    def forget(self, seq: int) -> None:
        """It is done with."""
        self._tried.pop(seq, None)

    def may_wait(self, seq: int) -> bool:
        """Whether one that came too early, perhaps, goes on waiting."""
        tried = self._tried.get(seq)
        if tried is None or tried.failures + 1 < POISON_ATTEMPTS:
            return True
        since_s = self._clock() - EARLY_FOR_S
        others = sum(other.early and other.since_s > since_s for key, other in self._tried.items() if key != seq)
        return tried.since_s > since_s and others < EARLY_AT_ONCE
