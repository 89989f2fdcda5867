"""The same appends on the library's own SQLite module, for scale: one file, WAL, synchronous=FULL, no encryption."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from eventsourcing.persistence import ApplicationRecorder, InfrastructureFactory, StoredEvent

from tests.benchmarks.ledger import BODY_BYTES

BATCH = 500


def measure(events: int = 60_000, singles: int = 1_000) -> dict[str, float]:
    """Figures by the names that `tests.benchmarks.ledger` uses."""
    with TemporaryDirectory(prefix="rapport-bench-") as folder:
        env = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(Path(folder) / "events.db")}
        with InfrastructureFactory.construct(env) as factory:
            recorder = factory.application_recorder()
            return {
                "append_single_per_s": _appends(recorder, singles, threads=1),
                "append_16_threads_per_s": _appends(recorder, singles * 3, threads=16),
                "append_bulk_per_s": _bulk(recorder, events),
                "read_log_per_s": _read(recorder),
            }


def _appends(recorder: ApplicationRecorder, count: int, threads: int) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: recorder.insert_events([_event()]), range(count)))
    return count / (time.perf_counter() - started)


def _bulk(recorder: ApplicationRecorder, events: int) -> float:
    batches = [[_event() for _ in range(BATCH)] for _ in range(events // BATCH)]
    started = time.perf_counter()
    for batch in batches:
        recorder.insert_events(batch)
    return len(batches) * BATCH / (time.perf_counter() - started)


def _read(recorder: ApplicationRecorder) -> float:
    started = time.perf_counter()
    count = sum(1 for _ in _notifications(recorder))
    return count / (time.perf_counter() - started)


def _notifications(recorder: ApplicationRecorder) -> Iterator[object]:
    start = 0
    while page := recorder.select_notifications(start, 2_000, inclusive_of_start=False):
        yield from page
        start = page[-1].id


def _event() -> StoredEvent:
    filler = "x" * (BODY_BYTES - 130)
    return StoredEvent(uuid4(), 1, "rapport:Tagged", f'{{"data":"{filler}"}}'.encode())
