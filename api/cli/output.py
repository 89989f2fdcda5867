"""Answers for people and for programs."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def as_json(document: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(orjson.dumps(document, default=str).decode() + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table a person can read."""
    shown = Table(title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(text(cell) for cell in row))
    out.print(shown)


def text(value: Any) -> str:
    """A cell: nothing for nothing, times to the minute, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, str) and len(value) > 15 and value[4:5] == "-" and value[10:11] == "T":
        return moment(value)
    return str(value).replace("[", r"\[")


def moment(iso: str | None) -> str:
    """A time to the minute, in UTC."""
    return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M") if iso else ""


def short(hex_id: str | None) -> str:
    """The beginning of an id, enough to tell rows apart."""
    return (hex_id or "")[:8]


def name(row: Mapping[str, Any]) -> str:
    """First and last name, as far as they are known."""
    return " ".join(part for part in (row.get("first_name"), row.get("last_name")) if part)
