"""What a node measures of its own work, for Prometheus and for `rapport status`."""

import time
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from threading import Lock
from typing import Any, NamedTuple

from prometheus_client import Counter, Histogram
from prometheus_client.metrics_core import Metric

LAST = 256
"""Of so many batches the median and the 95th percentile are told."""

SIZES = (1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000)
TIMES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Batch(NamedTuple):
    """One batch that went into the views; `at` is when it was there, on the machine's clock."""

    events: int
    apply_s: float
    at: float


class Batches:
    """How many events went into the views at a time, and how long that took. Safe for use by many threads."""

    def __init__(self) -> None:
        self._events = Histogram("rapport_projection_batch_events", "Events of a batch.", buckets=SIZES, registry=None)
        self._apply_s = Histogram(
            "rapport_projection_apply_seconds",
            "From a decoded batch to its commit in the views.",
            buckets=TIMES_S,
            registry=None,
        )
        self._total = Counter(
            "rapport_projection_events", "Events taken into the views since the node started.", registry=None
        )
        self._last: deque[Batch] = deque(maxlen=LAST)
        self._lock = Lock()

    def note(self, events: int, apply_s: float) -> None:
        """A batch of so many events is in."""
        self._events.observe(events)
        self._apply_s.observe(apply_s)
        self._total.inc(events)
        with self._lock:
            self._last.append(Batch(events, apply_s, time.time()))

    def collect(self) -> Iterable[Metric]:
        """For a `CollectorRegistry`, in which this may be registered."""
        for metric in (self._events, self._apply_s, self._total):
            yield from metric.collect()

    def last(self) -> dict[str, Any] | None:
        """The last batch, and the apply times of the last `LAST`; None before the first."""
        with self._lock:
            batches = list(self._last)
        if not batches:
            return None
        times = sorted(batch.apply_s for batch in batches)
        return {
            "events": batches[-1].events,
            "apply_ms": _ms(batches[-1].apply_s),
            "at": datetime.fromtimestamp(batches[-1].at, UTC),
            "apply_p50_ms": _ms(times[(len(times) - 1) // 2]),
            "apply_p95_ms": _ms(times[-(-95 * len(times) // 100) - 1]),
            "batches": len(batches),
        }


class Deliveries:
    """What came of webhook deliveries, by provider. Safe for use by many threads."""

    def __init__(self) -> None:
        self._counted = Counter(
            "rapport_webhooks",
            "Deliveries received, refused or retried, and what came of what they told of.",
            ["provider", "outcome"],
            registry=None,
        )

    def note(self, provider: str, outcome: str, count: int = 1) -> None:
        """So many more of this outcome; none is nothing."""
        if count:
            self._counted.labels(provider, outcome).inc(count)

    def collect(self) -> Iterable[Metric]:
        """For a `CollectorRegistry`."""
        yield from self._counted.collect()

    def totals(self) -> dict[str, int]:
        """By outcome, over all providers, since the node started."""
        found: dict[str, int] = {}
        for metric in self._counted.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    outcome = sample.labels["outcome"]
                    found[outcome] = found.get(outcome, 0) + int(sample.value)
        return found


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 1)
