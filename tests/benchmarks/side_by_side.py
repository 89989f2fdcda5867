"""`make bench-ledger`: one workload on several event stores in one run, and the ratios between them.

python -m tests.benchmarks.side_by_side [--quick] [--rounds N] [--only NAME ...]

Through the library's `Application` (with its own object construction and JSON, which `memory` shows alone), and at the
recorders, with events made beforehand. The stores take turns by workload; a figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import ApplicationRecorder, StoredEvent

from tests.benchmarks.backends import BACKENDS, Unavailable

BULK = 500
PAGE = 1_000
STATE = b'{"v":1,"occurred_at":"2026-03-01T09:30:00Z","channel":"email","sealed":"' + b"A" * 480 + b'"}'


class Person(Aggregate):
    """An aggregate as the library's users write them."""

    @event("Sourced")
    def __init__(self, name: str) -> None:
        self.name = name
        self.tags: list[str] = []

    @event("Tagged")
    def tag(self, tag: str) -> None:
        """Adds a tag."""
        self.tags.append(tag)


class Store:
    """One event store under test, and what its workloads need."""

    def __init__(self, env: dict[str, str]) -> None:
        self.app = Application[UUID](env=env)
        self.recorder: ApplicationRecorder = self.app.recorder
        self.saved: list[UUID] = []
        self._numbers = count()

    def save(self, times: int) -> int:
        """A new aggregate, saved; one after the other."""
        for _ in range(times):
            person = Person("Ada")
            self.app.save(person)
            self.saved.append(person.id)
        return times

    def get_command_save(self, times: int) -> int:
        """An aggregate is read, changed and saved."""
        for number in range(times):
            person: Person = self.app.repository.get(self.saved[-1 - number % len(self.saved)])
            person.tag("python")
            self.app.save(person)
        return times

    def save_threads(self, times: int, threads: int) -> int:
        """New aggregates, from many threads."""
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: self.app.save(Person("Ada")), range(times)))
        return times

    def save_bulk(self, times: int) -> int:
        """500 new aggregates in one save; counted in events."""
        for _ in range(times):
            self.app.save(*(Person("Ada") for _ in range(BULK)))
        return times * BULK

    def insert(self, events: list[StoredEvent]) -> int:
        """Events made beforehand, each an insert of its own."""
        for each in events:
            self.recorder.insert_events([each])
        return len(events)

    def insert_threads(self, events: list[StoredEvent], threads: int) -> int:
        """The same from many threads."""
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda each: self.recorder.insert_events([each]), events))
        return len(events)

    def insert_bulk(self, events: list[StoredEvent]) -> int:
        """Events made beforehand as an import stores them: ours in `insert_many`, others 500 an insert."""
        insert_many = getattr(self.recorder, "insert_many", None)
        if insert_many is not None:
            failed = [outcome for outcome in insert_many([[each] for each in events]) if isinstance(outcome, Exception)]
            if failed:
                raise failed[0]
        else:
            for chunk in batched_lists(events, BULK):
                self.recorder.insert_events(chunk)
        return len(events)

    def read_log(self) -> int:
        """The whole log, 1,000 notifications at a time."""
        start, found = 0, 0
        while page := self.recorder.select_notifications(start, PAGE, inclusive_of_start=False):
            start, found = page[-1].id, found + len(page)
        return found


def batched_lists(events: list[StoredEvent], size: int) -> list[list[StoredEvent]]:
    """Slices of `size`."""
    return [events[at : at + size] for at in range(0, len(events), size)]


def workloads(part: int) -> dict[str, Callable[[Store], Callable[[], int]]]:
    """By name: what prepares a workload for a store, and gives what is to be timed; that returns how much it did."""
    singles, threaded, bulk = 1_500 // part, 4_000 // part, 20 // min(part, 10)
    return {
        "save": lambda store: lambda: store.save(singles),
        "get + command + save": lambda store: lambda: store.get_command_save(singles // 2),
        "save, 4 threads": lambda store: lambda: store.save_threads(threaded, 4),
        "save, 16 threads": lambda store: lambda: store.save_threads(threaded, 16),
        "save, 64 threads": lambda store: lambda: store.save_threads(threaded, 64),
        "500 aggregates in one save": lambda store: lambda: store.save_bulk(bulk),
        "recorder: insert": lambda store: _with(made(singles), store.insert),
        "recorder: insert, 16 threads": lambda store: _with(made(threaded), lambda e: store.insert_threads(e, 16)),
        "recorder: insert, 64 threads": lambda store: _with(made(threaded), lambda e: store.insert_threads(e, 64)),
        "recorder: insert in bulk": lambda store: _with(made(bulk * BULK * 2), store.insert_bulk),
        "recorder: read the log": lambda store: store.read_log,
    }


def made(number: int) -> list[StoredEvent]:
    """First events of so many aggregates, some 600 bytes each."""
    return [StoredEvent(uuid4(), 1, "sourced", STATE) for _ in range(number)]


def _with(events: list[StoredEvent], work: Callable[[list[StoredEvent]], int]) -> Callable[[], int]:
    return lambda: work(events)


def measure(names: list[str], rounds: int, part: int) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Median rates a second by workload and store, and why a store was left out."""
    missing: dict[str, str] = {}
    rates: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        stores = {"memory": Store({})}
        for name in names:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="rapport-bench-")))
            try:
                stores[name] = Store(stack.enter_context(BACKENDS[name](folder)))
            except Unavailable as reason:
                missing[name] = str(reason)
                continue
            stack.callback(stores[name].app.close)
        todo = workloads(part)
        for number in range(1, rounds + 1):
            for workload, prepare in todo.items():
                for name, store in stores.items():
                    work = prepare(store)
                    started = time.perf_counter()
                    done = work()
                    rates.setdefault(workload, {}).setdefault(name, []).append(done / (time.perf_counter() - started))
                print(f"round {number} of {rounds}: {workload}", file=sys.stderr, flush=True)
    return {w: {n: median(r) for n, r in by_name.items()} for w, by_name in rates.items()}, missing


def table(figures: dict[str, dict[str, float]], names: list[str]) -> str:
    """Markdown: rates a second, and ours as a ratio to each of the others."""
    others = [name for name in names if name not in ("jetstream", "memory")]
    header = ["a second", *names, *(f"÷ {name}" for name in others)]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    for workload, rates in figures.items():
        ratios = [f"{rates['jetstream'] / rates[name]:.2f}" for name in others]
        lines.append("| " + " | ".join([workload, *(f"{rates[name]:,.0f}" for name in names), *ratios]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a first look")
    parser.add_argument("--rounds", type=int, default=3, help="how often each workload runs on each store")
    parser.add_argument("--only", nargs="*", default=list(BACKENDS), choices=list(BACKENDS), help="these stores")
    chosen = parser.parse_args()
    names = ["jetstream", *(name for name in chosen.only if name != "jetstream")]
    figures, missing = measure(names, chosen.rounds, 10 if chosen.quick else 1)
    print(table(figures, ["memory", *(name for name in names if name not in missing)]))
    for name, reason in missing.items():
        print(f"\n{name} is left out: {reason}.")


if __name__ == "__main__":
    main()
