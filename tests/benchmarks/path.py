"""How fast the whole path is: decide, seal and append; then from the ledger into every view."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from api.generator import generate
from api.node import Node
from domain.interaction import Interaction, parse
from infra import logging
from infra.duckdb import open_database
from infra.recording import Accepted
from infra.settings import Settings
from projections import Projector

CHUNK = 500


def measure(candidates: int = 5_000, singles: int = 1_000) -> dict[str, float]:
    """Figures by name: `_per_s` are rates, `_ms` are times."""
    logging.configure("error")
    with TemporaryDirectory(prefix="rapport-bench-") as folder:
        settings = Settings.embedded(Path(folder) / "data")
        with Node(settings) as node:
            figures = {"record_bulk_per_s": record_bulk(node, candidates)}
            figures["record_single_per_s"] = record_one_by_one(node, singles, threads=1)
            figures["record_16_threads_per_s"] = record_one_by_one(node, singles * 3, threads=16)
            node.wait_for(node.ledger.last_seq(), timeout_s=600)
            figures |= visible(node)
        return figures | catch_up(settings)


def record_bulk(node: Node, candidates: int) -> float:
    """Interactions a second, as an import records them: resolved, decided, sealed, appended, durable."""
    interactions = [parse(record) for record in generate(candidates, seed=1)]
    started = time.perf_counter()
    for start in range(0, len(interactions), CHUNK):
        _all_accepted(node, interactions[start : start + CHUNK])
    return len(interactions) / (time.perf_counter() - started)


def record_one_by_one(node: Node, count: int, threads: int) -> float:
    """Interactions a second, each a command of its own on a candidate of its own."""
    interactions = [_sourced(f"{threads}-{number}") for number in range(count)]
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda i: _all_accepted(node, [i]), interactions))
    return count / (time.perf_counter() - started)


def visible(node: Node, rounds: int = 100) -> dict[str, float]:
    """Milliseconds from sending an interaction until every view shows it, on an idle node."""
    times_ms = []
    for number in range(rounds):
        started = time.perf_counter()
        (outcome,) = node.recording.record([_sourced(f"visible-{number}")], facts=True)
        if not isinstance(outcome, Accepted):
            raise TypeError(f"not recorded: {outcome}")
        node.wait_for(outcome.seq)
        times_ms.append((time.perf_counter() - started) * 1_000)
    times_ms.sort()
    return {"visible_p50_ms": times_ms[rounds // 2], "visible_p99_ms": times_ms[rounds * 99 // 100]}


def catch_up(settings: Settings) -> dict[str, float]:
    """Events a second from the ledger into an empty views file: read, decrypted, mirrored, in every view."""
    settings.database.unlink()
    settings.database.with_suffix(".duckdb.wal").unlink(missing_ok=True)
    started = time.perf_counter()
    with Node(settings) as node:
        count = node.ledger.last_seq()
        node.wait_for(count, timeout_s=600)
        took = time.perf_counter() - started
    _check_complete(settings, count)
    return {"catch_up_events": count, "catch_up_per_s": count / took}


def _check_complete(settings: Settings, count: int) -> None:
    with open_database(settings.database) as connection:
        projector = Projector(connection)
        with projector.cursor() as cursor:
            (held,) = cursor.execute("select count(*) from events").fetchone() or (0,)
    if held != count:
        raise RuntimeError(f"the mirror holds {held} of {count} events")


def _all_accepted(node: Node, interactions: list[Interaction]) -> None:
    for outcome in node.recording.record(interactions, facts=True):
        if not isinstance(outcome, Accepted):
            raise TypeError(f"not recorded: {outcome}")


def _sourced(key: str) -> Interaction:
    record: dict[str, Any] = {
        "id": f"bench:{key}",
        "type": "sourced",
        "candidate": {"email": f"bench.{key}@example.com"},
        "occurred_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "source": "bench",
        "data": {"first_name": "Ada", "last_name": key, "location": "London"},
    }
    return parse(record)
