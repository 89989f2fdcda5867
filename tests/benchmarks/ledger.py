"""How fast the ledger is on this machine, on a real, durable nats-server in a temporary folder."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from infra.jetstream import Bucket, Connection, JetStreamApplicationRecorder, LedgerReader, declare_stream
from infra.nats_server import EmbeddedServer

EVENTS_PER_CANDIDATE = 12
BODY_BYTES = 700


def measure(events: int = 120_000, singles: int = 1_000, loads: int = 300) -> dict[str, float]:
    """Figures by name: `_per_s` are rates, `_ms` are times. Takes about ten seconds with the defaults."""
    with TemporaryDirectory(prefix="rapport-bench-") as folder, EmbeddedServer(Path(folder)) as server:
        with Connection(server.url) as connection:
            recorder = JetStreamApplicationRecorder(connection, declare_stream(connection))
            figures = {
                "append_single_per_s": append_single(recorder, singles),
                "append_16_threads_per_s": append_threads(recorder, singles * 3, 16),
                "append_bulk_per_s": append_bulk(recorder, events),
                "read_log_per_s": read_log(recorder),
                "create_keys_per_s": create_keys(connection, 20_000),
            }
        with reopened(server) as recorder:
            figures |= _percentiles("load_cold", load_one(recorder, events, loads))
            figures |= _percentiles("load_warm", load_one(recorder, events, loads))
    return figures


@contextmanager
def reopened(server: EmbeddedServer) -> Iterator[JetStreamApplicationRecorder]:
    """A recorder on the server started anew: nothing of the stream is in anybody's memory but the file system's."""
    server.stop()
    server.start()
    with Connection(server.url) as connection:
        yield JetStreamApplicationRecorder(connection, declare_stream(connection))


def append_single(recorder: JetStreamApplicationRecorder, count: int) -> float:
    """Appends a second, one event each, one after the other."""
    started = time.perf_counter()
    for number in range(count):
        recorder.insert_events([_event("single", number, 1)])
    return count / (time.perf_counter() - started)


def append_threads(recorder: JetStreamApplicationRecorder, count: int, threads: int) -> float:
    """Appends a second, one event each, from many threads."""

    def write(number: int) -> None:
        recorder.insert_events([_event("thread", number, 1)])

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, range(count)))
    return count / (time.perf_counter() - started)


def append_bulk(recorder: JetStreamApplicationRecorder, count: int) -> float:
    """Events a second through `insert_many`, every candidate's events scattered over the whole of it."""
    candidates = count // EVENTS_PER_CANDIDATE
    spent_s = 0.0
    for version in range(1, EVENTS_PER_CANDIDATE + 1):
        groups = [[_event("candidate", number, version)] for number in range(candidates)]
        started = time.perf_counter()
        outcomes = recorder.insert_many(groups)
        spent_s += time.perf_counter() - started
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if failed:
            raise failed[0]
    return candidates * EVENTS_PER_CANDIDATE / spent_s


def read_log(recorder: JetStreamApplicationRecorder) -> float:
    """Messages a second, the whole log in order."""
    started = time.perf_counter()
    count = sum(map(len, LedgerReader(recorder.connection, recorder.stream).read_batches(0)))
    return count / (time.perf_counter() - started)


def create_keys(connection: Connection, count: int) -> float:
    """New keys a second through `create_many`."""
    bucket = Bucket(connection, "bench")
    items = {f"key.{number}": b"v" * 100 for number in range(count)}
    started = time.perf_counter()
    bucket.create_many(items)
    return count / (time.perf_counter() - started)


def load_one(recorder: JetStreamApplicationRecorder, events: int, loads: int) -> list[float]:
    """Milliseconds to load one candidate's events, for random candidates of what `append_bulk` stored."""
    dice = random.Random(7)
    times_ms: list[float] = []
    for _ in range(loads):
        originator_id = _id("candidate", dice.randrange(events // EVENTS_PER_CANDIDATE))
        started = time.perf_counter()
        found = recorder.select_events(originator_id)
        times_ms.append((time.perf_counter() - started) * 1_000)
        if len(found) != EVENTS_PER_CANDIDATE:
            raise RuntimeError(f"{len(found)} events instead of {EVENTS_PER_CANDIDATE}")
    return times_ms


def _percentiles(name: str, times_ms: list[float]) -> dict[str, float]:
    ordered = sorted(times_ms)
    return {f"{name}_p50_ms": ordered[len(ordered) // 2], f"{name}_p99_ms": ordered[len(ordered) * 99 // 100]}


def _id(kind: str, number: int) -> str:
    return f"{kind}-{UUID(int=random.Random(number).getrandbits(128)).hex}"


def _event(kind: str, number: int, version: int) -> StoredEvent:
    filler = "x" * (BODY_BYTES - 130)
    state = f'{{"occurred_at":"2026-03-01T09:30:00Z","data":"{filler}"}}'.encode()
    return StoredEvent(_id(kind, number), version, "rapport:Tagged", state)
