"""Answers for people and for programs."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

WIDE = 120
"""Columns of a table that goes to a file or a pipe."""

out = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE)
err = Console(stderr=True, highlight=False)


_refused = {"as_json": False}


def refuse_as_json(asked: bool) -> None:
    """How a refusal is said from now on."""
    _refused["as_json"] = asked


def refuse(sentence: str, problem: Mapping[str, Any] | None = None) -> None:
    """Says on standard error why nothing was done, or not all: to a program as the `problem` document it is."""
    if _refused["as_json"]:
        about = problem or {"type": "about:blank", "title": "refused", "detail": sentence}
        err.file.write(json_of(about) + "\n")
    else:
        err.print(f"rapport: {sentence}", style="red", markup=False, soft_wrap=True)


def as_json(document: Any) -> None:
    """One JSON document on standard output."""
    raw(json_of(document) + "\n")
    sys.stdout.flush()


def json_of(document: Any) -> str:
    """The document as JSON text."""
    return orjson.dumps(document, default=str).decode()


def raw(part: str) -> None:
    """A part of a document on standard output, as it is."""
    sys.stdout.write(part)


def say(sentence: str) -> None:
    """A sentence on standard output, wrapped by nobody, so that scripts may read it by the line."""
    out.print(sentence, markup=False, soft_wrap=True)


def progress(quiet: bool = False) -> Progress:
    """A bar on standard error, gone when it is done; none where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], whole: Sequence[str] = ()) -> None:
    """A table a person can read; the columns named in `whole` are never wrapped."""
    rows = list(rows)
    shown = Table(
        title=Text(title) if title else None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    for n, column in enumerate(columns):
        shown.add_column(
            column,
            overflow="fold",
            justify="right" if rows and all(_is_number(row[n]) for row in rows) else "left",
            no_wrap=column in whole,
        )
    for row in rows:
        shown.add_row(*(text(cell) for cell in row))
    out.print(shown)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


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
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return moment(value.isoformat())
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
