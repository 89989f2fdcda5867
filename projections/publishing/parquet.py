"""The mirror as Parquet, by day and shard: parts that are the same whenever they are made."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import duckdb
import pyarrow as pa
import pyarrow.parquet

from projections import sql
from projections.publishing.copying import NEVER_PUBLISHED, query

SHARDS = 256
"""As many as there are values of an id's first two hex digits; what is asked for divides it."""

ROW_GROUP_ROWS = 122_880


@dataclass(frozen=True)
class Part:
    """The events recorded on one day (UTC) whose aggregates' ids begin in one range; `shard` is where it begins."""

    day: date
    shard: str
    events: int
    last_seq: int


@dataclass(frozen=True)
class Listing:
    """All parts up to `until`. `columns` changes when they would be written with other columns."""

    until: int
    columns: str
    parts: list[Part]


def listing(cursor: duckdb.DuckDBPyConnection, shards: int) -> Listing:
    """What there is to export. Raises ValueError when `shards` does not divide 256."""
    width = _width(shards)
    until: int = sql.value(cursor, "select seq from ops.checkpoint")
    found = cursor.execute(query("parts"), {"width": width, "until": until}).fetchall()
    described = repr(_columns(cursor)).encode()
    return Listing(until, hashlib.sha256(described).hexdigest()[:16], [Part(*row) for row in found])


def part(cursor: duckdb.DuckDBPyConnection, day: date, shard: str, shards: int, until: int) -> Iterator[bytes]:
    """One part as a Parquet file, as it is written: events in order, without personal data and stored bytes."""
    width, first = _width(shards), int(shard, 16)
    begin = datetime.combine(day, time(), UTC)
    wanted = {"from": begin, "to": begin + timedelta(days=1), "until": until, "width": width, "shard": first}
    relation = cursor.sql(query("part"), params=wanted)
    return _encoded(relation.to_arrow_reader(ROW_GROUP_ROWS))


def check(shard: str, shards: int) -> None:
    """Raises ValueError when there is no such shard."""
    if int(shard, 16) % _width(shards):
        raise ValueError(f"of {shards} none begins at {shard}")


def _encoded(reader: pa.RecordBatchReader) -> Iterator[bytes]:
    sink = io.BytesIO()
    forward = pa.PythonFile(_Forward(sink), "w")
    with reader, pa.parquet.ParquetWriter(forward, reader.schema, compression="zstd") as file:
        for batch in reader:
            file.write_batch(batch)
            yield _taken(sink)
    yield _taken(sink)


class _Forward(io.RawIOBase):
    """What is written goes on to `sink`, from which it is taken away; positions count on."""

    def __init__(self, sink: io.BytesIO) -> None:
        self._sink = sink
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        count = self._sink.write(data)  # type: ignore[arg-type]  # whatever pyarrow hands over is a buffer
        self._position += count
        return count

    def tell(self) -> int:
        return self._position


def _taken(sink: io.BytesIO) -> bytes:
    taken = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return taken


def _columns(cursor: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    return [
        (column, type_)
        for column, type_ in cursor.execute(query("event_columns")).fetchall()
        if ("events", column) not in NEVER_PUBLISHED
    ]


def _width(shards: int) -> int:
    if shards < 1 or SHARDS % shards:
        raise ValueError(f"the number of shards divides {SHARDS}: 1, 2, 4, … {SHARDS}")
    return SHARDS // shards
