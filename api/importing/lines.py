"""A file as numbered lines, each with the records it holds or the reason it holds none."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from api.failures import FileRefused
from api.importing import tables
from api.importing.tables import Row

__all__ = ["Line", "Source", "open_source"]

MAX_LINE_BYTES = 1_000_000
MAX_ARRAY_BYTES = 64_000_000
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Line:
    """One line of the input. `documents` are JSON texts, unchecked; `problem` says why there are none."""

    number: int
    raw: str
    documents: tuple[bytes, ...] = ()
    problem: str | None = None


@dataclass
class Source:
    """An opened input. `size_bytes` is None when unknown; `position` advances while `lines` is consumed."""

    name: str
    size_bytes: int | None
    lines: Iterator[Line]
    position: Callable[[], int]
    ignored_columns: list[str] = field(default_factory=list)


def open_source(path: str, source_label: str | None = None) -> Source:
    """Opens `path`, or standard input for `-`, and finds out what it is by its beginning.

    Raises FileRefused when it does not exist, is a folder, is empty, or is of none of the known forms.
    """
    file, size, name, written_at = _open(path)
    reader = _Counted(file)
    first, number = reader.readline(MAX_LINE_BYTES + 1).removeprefix(BOM), 1
    while first and not first.strip():
        first, number = reader.readline(MAX_LINE_BYTES + 1), number + 1
    if not first:
        raise FileRefused(f"{name} is empty")
    start = first.lstrip()[:1]
    if start == b"{":
        return Source(name, size, _ndjson(number, first, reader), lambda: reader.consumed)
    if start == b"[":
        return Source(name, size, _array(first, reader, name), lambda: reader.consumed)
    table = tables.open_table(first, reader, name, source_label, written_at)
    skipped = number - 1
    return Source(
        name, size, (_from_row(row, skipped) for row in table.rows), lambda: reader.consumed, table.ignored_columns
    )


class _Counted:
    """A binary file that knows how much of it was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.consumed = 0

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(limit)
        self.consumed += len(line)
        return line

    def read(self, limit: int) -> bytes:
        data = self._file.read(limit)
        self.consumed += len(data)
        return data

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")


def _open(path: str) -> tuple[BinaryIO, int | None, str, datetime]:
    if path == "-":
        return sys.stdin.buffer, None, "stdin", datetime.now(UTC)
    file_path = Path(path)
    try:
        file = file_path.open("rb")
        stat = file_path.stat()
    except FileNotFoundError:
        raise FileRefused(f"there is no file {path}") from None
    except OSError as error:
        raise FileRefused(f"{path} cannot be read: {error.strerror}") from None
    return file, stat.st_size, file_path.name, datetime.fromtimestamp(stat.st_mtime, UTC)


def _ndjson(number: int, first: bytes, rest: _Counted) -> Iterator[Line]:
    line = first
    while line:
        too_long = len(line) > MAX_LINE_BYTES
        while too_long and not line.endswith(b"\n"):
            line = rest.readline(MAX_LINE_BYTES)
            if not line:
                break
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if too_long:
            yield Line(number, "", problem=f"the line is longer than {MAX_LINE_BYTES:,} bytes")
        elif text.strip():
            yield Line(number, text, (line.strip(),)) if _is_utf8(line) else Line(number, text, problem="not UTF-8")
        number, line = number + 1, rest.readline(MAX_LINE_BYTES + 1)


def _array(first: bytes, rest: _Counted, name: str) -> Iterator[Line]:
    body = first + rest.read(MAX_ARRAY_BYTES + 1)
    if len(body) > MAX_ARRAY_BYTES:
        raise FileRefused(f"{name} is an array of more than {MAX_ARRAY_BYTES:,} bytes; write it as NDJSON, one a line")
    try:
        documents: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FileRefused(f"{name} is not JSON: {error.msg} in line {error.lineno}") from None
    for number, document in enumerate(documents, start=1):
        text = orjson.dumps(document)
        yield Line(number, text.decode(), (text,))


def _from_row(row: Row, skipped: int) -> Line:
    return Line(row.number + skipped, row.raw, tuple(orjson.dumps(r) for r in row.records), row.problem)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
