"""The forms in which an answer leaves: JSON, CSV, an Arrow stream, Parquet; and which of them a caller accepts."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from api.sql.refusals import NotAcceptable, QueryRefused

ROW_GROUP_ROWS = 122_880
ROW_GROUP_BYTES = 64_000_000


class Format(StrEnum):
    """By media type; the first is what a caller gets who does not mind."""

    JSON = "application/json"
    CSV = "text/csv"
    ARROW = "application/vnd.apache.arrow.stream"
    PARQUET = "application/vnd.apache.parquet"


def accepted(accept: str) -> Format:
    """The form that an Accept header (RFC 9110, 12.5.1) wants most. Raises NotAcceptable."""
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return Format.JSON
    best, weight = Format.JSON, 0.0
    for format_ in Format:
        if (wanted := _weight(format_, ranges)) > weight:
            best, weight = format_, wanted
    if weight == 0.0:
        raise NotAcceptable(f"answers come as {', '.join(Format)}; none of them is accepted")
    return best


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media, 0.0
    return media, 1.0


def _weight(format_: Format, ranges: list[tuple[str, float]]) -> float:
    """What the most specific range that holds the format gives it; 0 when none does."""
    for pattern in (format_.value, format_.partition("/")[0] + "/*", "*/*"):
        for media, weight in ranges:
            if media == pattern:
                return weight
    return 0.0


class Writer(ABC):
    """Writes batches of one schema into a file as they come."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self.file = file
        self.schema = schema

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> None:
        """One batch more. Raises QueryRefused for a value that the form cannot hold."""

    @abstractmethod
    def finish(self) -> None:
        """What comes behind the last batch."""


class _Json(Writer):
    """An array of objects. Times in RFC 3339, bytes in hexadecimal."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        super().__init__(file, schema)
        self._before = b"["

    def write(self, batch: pa.RecordBatch) -> None:
        for row in rows(batch):
            self.file.write(self._before)
            self.file.write(json_of(row))
            self._before = b",\n"

    def finish(self) -> None:
        self.file.write(b"]" if self._before != b"[" else b"[]")


class _Csv(Writer):
    """With a header. Lists and structures as JSON, bytes in hexadecimal."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        super().__init__(file, schema)
        flat = _flat(schema.empty_table()).schema
        self._writer = pa.csv.CSVWriter(pa.PythonFile(file, "w"), flat)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_table(_flat(pa.table(batch)))

    def finish(self) -> None:
        self._writer.close()


class _Arrow(Writer):
    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        super().__init__(file, schema)
        self._writer = pa.ipc.new_stream(pa.PythonFile(file, "w"), schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def finish(self) -> None:
        self._writer.close()


class _Parquet(Writer):
    """Batches are gathered into row groups of a size that readers like."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        super().__init__(file, schema)
        self._writer = pa.parquet.ParquetWriter(pa.PythonFile(file, "w"), schema, compression="zstd")
        self._gathered: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._gathered.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES:
            self._put()

    def finish(self) -> None:
        if self._gathered:
            self._put()
        self._writer.close()

    def _put(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._gathered, self.schema), row_group_size=self._rows)
        self._gathered = []
        self._rows = self._bytes = 0


WRITERS: dict[Format, Callable[[IO[bytes], pa.Schema], Writer]] = {
    Format.JSON: _Json,
    Format.CSV: _Csv,
    Format.ARROW: _Arrow,
    Format.PARQUET: _Parquet,
}


def rows(batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """The rows as Python values. Raises QueryRefused for a time that Python cannot hold."""
    try:
        found: list[dict[str, Any]] = batch.to_pylist()
        return found
    except (OverflowError, ValueError):
        raise QueryRefused("the answer holds a time outside the calendar; select it as text: ::varchar") from None


def json_of(value: object) -> bytes:
    """One value, or row, as JSON."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def text(value: object) -> str:
    """One value as text: JSON for lists and structures, hexadecimal for bytes."""
    return value.hex() if isinstance(value, bytes) else json_of(value).decode()


def _plain(value: object) -> object:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(f"{value:f}")  # all its digits; a sum of integers is one, too
    return value.hex() if isinstance(value, bytes) else str(value)


def _flat(table: pa.Table) -> pa.Table:
    """The table with lists, structures and bytes as text, for a form that holds nothing else."""
    for n, field in enumerate(table.schema):
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type) or pa.types.is_interval(field.type):
            texts = [None if v is None else text(v) for v in table.column(n).to_pylist()]
            table = table.set_column(n, field.name, pa.array(texts, pa.string()))
    return table
