"""CSV, of interactions or of people, as interaction records."""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath
from typing import Any

from api.failures import FileRefused
from domain.interaction import content_id

csv.field_size_limit(1_000_000)

PEOPLE_COLUMNS = {
    "first_name": ("first_name", "firstname", "given_name", "forename"),
    "last_name": ("last_name", "lastname", "surname", "family_name"),
    "email": ("email", "e_mail", "email_address", "mail"),
    "phone": ("phone", "phone_number", "mobile", "telephone"),
    "profile": ("profile", "profile_url", "linkedin", "linkedin_url"),
    "ref": ("unique_id", "external_id", "candidate_id", "id", "ref"),
    "location": ("location", "city", "town"),
    "headline": ("headline", "title", "job_title"),
    "employer": ("employer", "company", "current_company"),
    "skills": ("skills",),
    "tags": ("tags", "labels"),
    "seniority": ("seniority", "level"),
    "role_family": ("role_family", "department", "function"),
    "jurisdiction": ("jurisdiction", "country_code"),
    "source": ("source",),
    "occurred_at": ("occurred_at", "sourced_at", "date_added"),
}
DEFAULT_SOURCE = "csv"
"""Where people of a CSV came from when nobody says. Not the file's name: names of files name people, too."""

MOST_LINES = 50
"""A quoted cell that runs over more lines than this is a quote that somebody forgot."""

_FIELD_OF = {name: field for field, names in PEOPLE_COLUMNS.items() for name in names}
_IDENTIFIERS = ("email", "phone", "profile")
_PROFILE = ("first_name", "last_name", "location", "headline", "employer", "role_family")
_ENVELOPE = {"id", "type", "occurred_at", "channel", "source", "actor", "correlation"}


@dataclass(frozen=True)
class Row:
    """One row: the records it stands for, or why it stands for none."""

    number: int
    raw: str
    records: tuple[dict[str, Any], ...] = ()
    problem: str | None = None


Records = Callable[[dict[str, str]], Iterable[dict[str, Any]]]
"""The records that the filled cells of a row stand for, by column."""


@dataclass
class Table:
    """The rows of a CSV and the columns nobody knows."""

    rows: Iterator[Row]
    ignored_columns: list[str] = field(default_factory=list)


def open_table(first: bytes, rest: Iterable[bytes], name: str, source: str | None, written_at: datetime) -> Table:
    """The table that begins with the header line `first`.

    Raises FileRefused when the header names neither people nor interactions, or one column twice.
    """
    header_text = first.decode("utf-8", "replace")
    delimiter = max(",;\t", key=header_text.count)
    names = _cells(header_text, delimiter)
    if names is None:
        raise FileRefused(f"{name} is not CSV: its first line has an open quote")
    header = [_column(c) for c in names]
    lines = _Lines(rest, delimiter, len(header))
    if {"type", "occurred_at"} <= set(header):
        if twice := sorted({c for c in header if c and header.count(c) > 1}):
            raise FileRefused(f"{name} has two columns named {twice[0]}")
        return Table(_rows(lines, header, _interaction), [])
    fields = [_FIELD_OF.get(c) for c in header]
    if not {"email", "phone", "profile", "ref"} & set(fields):
        raise FileRefused(
            f"{name} is not NDJSON, a JSON array, or a CSV with a header; "
            "people need a column such as email or unique_id"
        )
    stem = re.sub(r"[^\w.-]", "_", PurePath(name).stem) or "csv"
    people = _People(stem, source or DEFAULT_SOURCE, written_at)
    named = [f if f and f not in fields[:n] else "" for n, f in enumerate(fields)]
    ignored = [c for c, f in zip(header, named, strict=True) if not f and c]
    return Table(_rows(lines, named, people.records), ignored)


class _Lines:
    """Rows as numbered texts with their cells. A quoted cell may run over a few lines; a quote that never closes
    costs its own line and no other."""

    def __init__(self, rest: Iterable[bytes], delimiter: str, width: int) -> None:
        self._rest = iter(rest)
        self._delimiter = delimiter
        self._width = width
        self._ahead: deque[str] = deque()
        self._number = 1

    def __iter__(self) -> Iterator[tuple[int, str, list[str] | None]]:
        while (text := self._take()) is not None:
            number, cells, joined = self._number, _cells(text, self._delimiter), [text]
            while cells is None and len(joined) < MOST_LINES and (more := self._take()) is not None:
                joined.append(more)
                cells = _cells("".join(joined), self._delimiter)
            if len(joined) > 1 and (cells is None or len(cells) != self._width or self._holds_rows(joined[1:])):
                self._ahead.extendleft(reversed(joined[1:]))
                self._number = number
                cells, joined = None, joined[:1]
            yield number, "".join(joined).rstrip("\r\n"), cells

    def _holds_rows(self, texts: list[str]) -> bool:
        """Whether a line is a row by itself, and so no part of a cell that somebody meant."""
        return any(len(_cells(text, self._delimiter) or ()) == self._width > 1 for text in texts)

    def _take(self) -> str | None:
        text = self._ahead.popleft() if self._ahead else None
        if text is None:
            line = next(self._rest, None)
            text = None if line is None else line.decode("utf-8", "surrogateescape")
        self._number += text is not None
        return text


def _cells(text: str, delimiter: str) -> list[str] | None:
    """The cells of one row; None when a quote is open or stands where none may."""
    try:
        rows = list(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if rows else []


def _column(text: str) -> str:
    return re.sub(r"[\s-]+", "_", text.strip().lower()) if "." not in text else text.strip()


def _rows(lines: _Lines, names: list[str], records: Records) -> Iterator[Row]:
    for number, text, cells in lines:
        raw = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if cells is None:
            yield Row(number, raw, problem="not CSV: a quote is not closed, or stands inside a cell")
        elif any(c.strip() for c in cells):
            yield _row(number, raw, cells, names, records)


def _row(number: int, raw: str, cells: list[str], names: list[str], records: Records) -> Row:
    if any("\udc80" <= c <= "\udcff" for cell in cells for c in cell):
        return Row(number, raw, problem="not UTF-8")
    if len(cells) != len(names):
        return Row(number, raw, problem=f"{len(cells)} cells where the header has {len(names)}")
    filled = {n: c.strip() for n, c in zip(names, cells, strict=True) if n and c.strip()}
    return Row(number, raw, tuple(records(filled)))


def _interaction(cells: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A row whose columns are named like the record: `candidate.email`, `data.tag`; bare names of `data` too."""
    record: dict[str, Any] = {"candidate": {}, "data": {}}
    for name, text in cells.items():
        part, _, rest = name.partition(".")
        if part in ("candidate", "data") and rest:
            record[part][rest] = _value(rest, text)
        elif name in _ENVELOPE:
            record[name] = text
        elif name in ("email", "phone", "profile", "ref"):
            record["candidate"][name] = text
        else:
            record["data"][name] = _value(name, text)
    yield record


def _value(name: str, text: str) -> Any:
    if name == "machine":
        return {"true": True, "false": False}.get(text.lower(), text)
    return _list(text) if name == "skills" else text


@dataclass(frozen=True)
class _People:
    """People as `sourced`, and `tagged` for each tag. A row that changed is another interaction; the same is not."""

    stem: str
    source: str
    written_at: datetime

    def records(self, cells: dict[str, str]) -> Iterator[dict[str, Any]]:
        cells = {name: " ".join(text.split()) for name, text in cells.items()}
        candidate = {k: cells[k] for k in _IDENTIFIERS if k in cells}
        if "ref" in cells:
            candidate["ref"] = cells["ref"] if re.match(r"[^:\s]+:\S", cells["ref"]) else f"{self.stem}:{cells['ref']}"
        data: dict[str, Any] = {k: cells[k] for k in _PROFILE if k in cells}
        data |= {k: cells[k].lower() for k in ("seniority",) if k in cells}
        data |= {k: cells[k].upper() for k in ("jurisdiction",) if k in cells}
        if "skills" in cells:
            data["skills"] = _list(cells["skills"])
        base = {
            "candidate": candidate,
            "occurred_at": cells.get("occurred_at", self.written_at.isoformat()),
            "source": cells.get("source", self.source),
            "actor": "system:import",
        }
        identity = f"csv:{content_id(cells).removeprefix('sha256:')[:32]}"
        yield base | {"id": identity, "type": "sourced", "data": data}
        for tag in _list(cells.get("tags", "")):
            yield base | {"id": f"{identity}:tag:{tag}", "type": "tagged", "data": {"tag": tag}}


def _list(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[;|,]", text) if part.strip()]
