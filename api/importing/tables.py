"""CSV, of interactions or of people, as interaction records."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import PurePath
from typing import Any

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
_FIELD_OF = {name: field for field, names in PEOPLE_COLUMNS.items() for name in names}
_IDENTIFIERS = ("email", "phone", "profile")
_PROFILE = ("first_name", "last_name", "location", "headline", "employer", "role_family")
_ENVELOPE = {"id", "type", "occurred_at", "channel", "source", "actor", "correlation"}


class FileRefused(Exception):
    """The file as a whole cannot be imported; one sentence."""


@dataclass(frozen=True)
class Row:
    """One row: the records it stands for, or why it stands for none."""

    number: int
    raw: str
    records: tuple[dict[str, Any], ...] = ()
    problem: str | None = None


@dataclass
class Table:
    """The rows of a CSV and the columns nobody knows."""

    rows: Iterator[Row]
    ignored_columns: list[str] = field(default_factory=list)


def open_table(first: bytes, rest: Iterable[bytes], name: str, source: str | None, written_at: datetime) -> Table:
    """The table that begins with the header line `first`.

    Raises FileRefused when the header names neither people nor interactions.
    """
    header_text = first.decode("utf-8", "replace")
    delimiter = max(",;\t", key=header_text.count)
    lines = (line.decode("utf-8", "surrogateescape") for line in chain([first], rest))
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        header = [_column(c) for c in next(reader)]
    except csv.Error as error:
        raise FileRefused(f"{name} is not CSV: {error}") from None
    if {"type", "occurred_at"} <= set(header):
        return Table(_rows(reader, header, _interaction), [])
    fields = [_FIELD_OF.get(c) for c in header]
    if not {"email", "phone", "profile", "ref"} & set(fields):
        raise FileRefused(
            f"{name} is not NDJSON, a JSON array, or a CSV with a header; "
            "people need a column such as email or unique_id"
        )
    stem = re.sub(r"[^\w.-]", "_", PurePath(name).stem) or "csv"
    people = _People(stem, source or stem[:100], written_at)
    named = [f if f and f not in fields[:n] else "" for n, f in enumerate(fields)]
    ignored = [c for c, f in zip(header, named, strict=True) if not f and c]
    return Table(_rows(reader, named, people.records), ignored)


def _column(text: str) -> str:
    return re.sub(r"[\s-]+", "_", text.strip().lower()) if "." not in text else text.strip()


def _rows(reader: Any, names: list[str], records: Any) -> Iterator[Row]:
    while True:
        before = reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(before + 1, "", problem=f"not CSV: {error}")
            continue
        if not any(c.strip() for c in cells):
            continue
        raw = ",".join(cells).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        yield _row(before + 1, raw, cells, names, records)


def _row(number: int, raw: str, cells: list[str], names: list[str], records: Any) -> Row:
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
        identity = f"csv:{self.stem}:{content_id(cells).removeprefix('sha256:')[:32]}"
        yield base | {"id": identity, "type": "sourced", "data": data}
        for tag in _list(cells.get("tags", "")):
            yield base | {"id": f"{identity}:tag:{tag}", "type": "tagged", "data": {"tag": tag}}


def _list(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[;|,]", text) if part.strip()]
