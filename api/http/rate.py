"""How often a caller may ask: a bucket of tokens for each, which fills at a steady rate (RFC 6585, 429)."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEPT = 10_000
"""Callers remembered. Of one that is forgotten the bucket is full, as it is after so many others asked meanwhile."""


class TooOften(Exception):
    """The caller has used up what it may ask for now; `retry_after_s` says when it may ask again."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many requests; nothing was done, ask again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Rate:
    """So many requests a second for each caller, and `burst` of them at once. For one thread, which never waits."""

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_s` of 0 sets no limit."""
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str) -> None:
        """Counts one request of this caller. Raises TooOften."""
        if not self._per_s:
            return
        now = self._clock()
        left, since = self._left.pop(who, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._per_s)
        self._left[who] = left - (left >= 1.0), now
        if len(self._left) > MOST_KEPT:
            self._left.popitem(last=False)
        if left < 1.0:
            raise TooOften(max(1, math.ceil((1.0 - left) / self._per_s)))
