"""`make bench`: every figure of docs/benchmarks.md, measured now, on this machine.

python -m tests.benchmarks [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tests.benchmarks import figures, ledger, loading, path, views


def main() -> None:
    """Measures and prints a Markdown page."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="a tenth of the events; figures only for a first look")
    part = 10 if arguments.parse_args().quick else 1
    print(figures.machine() + "\n")
    print(_ledger(120_000 // part))
    print(_loading(1_000_000 // part))
    print(_path(10_000 // part))
    print(_views(1_000_000 // part))


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
    return (
        f"### Views (`make bench-views` has 5,000,000 events)\n\n{figures.table(views.measure(events, peer=False))}\n"
    )


def _table(title: str, header: list[str], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"### {title}\n", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


if __name__ == "__main__":
    main()
