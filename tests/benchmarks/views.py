"""`make bench-views`: the views on a generated history of 5,000,000 events of about 400,000 candidates.

python -m tests.benchmarks.views [--events N] [--keep DIR] [--json FILE]

A real ledger on a real nats-server, a node that follows it, DuckDB in a file. With --keep the ledger and the views stay
in DIR and are used again; an unfinished ledger is finished.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks import backends, views_live, views_stages
from tests.benchmarks.figures import Figure
from tests.benchmarks.filling import fill, say
from tests.benchmarks.history import batches, candidates
from tests.benchmarks.reporting import report

history = batches
"""The generated history without a ledger, for tests of the projector."""

EVENTS = 5_000_000
PER_S = 500
LIVE_S = 40.0
PEER_EVENTS = 20_000


def measure(events: int = EVENTS, keep: Path | None = None, *, peer: bool = True) -> Iterator[Figure]:
    """Every figure as it becomes known. Each stage runs in a process of its own, one after the other."""
    if keep is not None:
        yield from _measure(keep, events, peer)
        return
    with TemporaryDirectory(prefix="rapport-bench-") as folder:
        yield from _measure(Path(folder), events, peer)


def _measure(folder: Path, events: int, peer: bool) -> Iterator[Figure]:
    data, people = folder / "data", candidates(events)
    made = f"({events:,} events of about {people:,} candidates, keys and claims included)"
    rate = fill(folder, events)
    yield Figure("the ledger made", rate, "events/s", note=made if rate else "kept from a run before")
    yield from _apart(views_stages.relay, data)
    yield from _apart(views_stages.catch_up, data)
    yield from _apart(views_stages.sizes, data)
    yield from _apart(views_stages.rebuilds, data)
    yield from _apart(views_stages.questions, data)
    yield from _apart(views_live.live, data, people, PER_S, LIVE_S)
    if peer:
        yield from _apart(library_runner, PEER_EVENTS)


def _apart(stage: Callable[..., list[Figure]], *arguments: Any) -> list[Figure]:
    """The stage's figures, from a process that does nothing else."""
    say(f"{stage.__name__} …")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(stage, *arguments).result()


def library_runner(events: int) -> list[Figure]:
    """The peer's figure, or why there is none."""
    try:
        if find_spec("psycopg") is None:
            raise backends.Unavailable("psycopg is not installed")
        from tests.benchmarks import views_peer

        return [views_peer.projection_runner(events)]
    except backends.Unavailable as reason:
        return [Figure("the library's ProjectionRunner, PostgreSQL to PostgreSQL", None, note=f"left out: {reason}")]


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=EVENTS, help="size of the history; everything scales with it")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where ledger and views stay, to be used again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON too")
    chosen = parser.parse_args()
    report(measure(chosen.events, chosen.keep), chosen.json)


if __name__ == "__main__":
    main()
