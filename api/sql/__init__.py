"""SQL for people: one SELECT at a time, over the views, nothing else."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile
from threading import BoundedSemaphore
from typing import IO

import duckdb
import pyarrow as pa

from api.sql import guard
from api.sql.formats import WRITERS, Format
from api.sql.limits import Watch
from api.sql.refusals import AnswerTooLarge, QueriesBusy, QueryRefused, QueryTooBig
from api.sql.rights import Rights
from projections import sql as statements

AT_ONCE = 8
"""Queries that run at the same time; more would keep everything else from being answered."""

BATCH_ROWS = 2_048
"""Rows that are looked at together: one of DuckDB's vectors, so that a large answer is noticed early."""

IN_MEMORY_BYTES = 8_000_000
"""Up to here an answer is kept in memory until it is sent, above on disk, in a file without a name."""

_running = BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class Answer:
    """A whole answer, encoded. `seq`: the ledger position that it rests on. Whoever takes it closes the file."""

    file: IO[bytes]
    size_bytes: int
    rows: int
    seq: int


def answer(
    cursor: duckdb.DuckDBPyConnection,
    query: str,
    rights: Rights,
    format_: Format = Format.JSON,
    as_of: datetime | None = None,
    spool_in: Path | None = None,
) -> Answer:
    """What one SELECT gives, as far as `rights` go.

    `as_of` is what `as_of()` and the views that ask for it take as now. The answer is written out before any of it is
    sent, batch by batch: only then is it known that it is whole, and a caller who reads slowly holds nothing up.

    Raises QueryRefused or one of its kinds, QueriesBusy when `AT_ONCE` run already.
    """
    if not _running.acquire(blocking=False):
        raise QueriesBusy(f"{AT_ONCE} queries run already; try again shortly")
    try:
        with Watch(cursor, rights.max_seconds) as watch, _reading(cursor, rights, as_of), _told(watch):
            guard.check(cursor, query, rights)
            seq: int = statements.value(cursor, "select seq from ops.checkpoint")
            with _batches(cursor, query) as reader:
                return _written(reader, rights, format_, seq, watch, spool_in)
    finally:
        _running.release()


@contextmanager
def _reading(cursor: duckdb.DuckDBPyConnection, rights: Rights, as_of: datetime | None) -> Iterator[None]:
    """A transaction that sees one state of the views and cannot write, whatever the statement turns out to be."""
    cursor.execute(f"set operator_memory_limit = '{rights.max_memory}'")
    if as_of is not None:
        cursor.execute(f"set variable {guard.VARIABLE} = $1::timestamptz", [as_of])
    cursor.execute("begin transaction read only")
    try:
        yield
    finally:
        cursor.execute("rollback")
        cursor.execute(f"reset variable {guard.VARIABLE}")


@contextmanager
def _told(watch: Watch) -> Iterator[None]:
    """DuckDB's errors, and Arrow's that pass them on, as refusals."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError, MemoryError) as error:
        watch.check()
        message = str(error)
        if isinstance(error, MemoryError) or "Out of Memory Error" in message:
            raise QueryTooBig(
                "the query needs more memory or temporary disk space than queries have; ask for less at a time, or for "
                "less than whole columns in one value"
            ) from None
        raise QueryRefused(message.strip().partition("\n\n")[0].replace("\n", " ")) from None


def _batches(cursor: duckdb.DuckDBPyConnection, query: str) -> pa.RecordBatchReader:
    found = cursor.extract_statements(query)
    if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
        raise QueryRefused("only a single SELECT is taken here")
    relation = cursor.sql(found[0])
    if relation is None:
        raise QueryRefused("only a statement with an answer is taken here")
    return relation.to_arrow_reader(BATCH_ROWS)


def _written(
    reader: pa.RecordBatchReader, rights: Rights, format_: Format, seq: int, watch: Watch, spool_in: Path | None
) -> Answer:
    schema = pa.schema([f.with_name(n) for f, n in zip(reader.schema, _unique(reader.schema.names), strict=True)])
    rows = 0
    # Not closed when something is refused: the writer, which goes with it, still wants to end its form in it.
    file = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=None if spool_in is None else str(spool_in))  # noqa: SIM115 - its reader closes it
    writer = WRITERS[format_](file, schema)
    for batch in reader:
        rows += batch.num_rows
        if rows > rights.max_rows:
            raise AnswerTooLarge(f"the answer has more than {rights.max_rows:,} rows; add a LIMIT or aggregate")
        # Before it is encoded, too: a single batch may be larger than a whole answer may be.
        if batch.nbytes > rights.max_answer_bytes:
            raise _too_large(rights)
        writer.write(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        if file.tell() > rights.max_answer_bytes:
            raise _too_large(rights)
        watch.check()
    writer.finish()
    size = file.tell()
    file.seek(0)
    return Answer(file, size, rows, seq)


def _too_large(rights: Rights) -> AnswerTooLarge:
    return AnswerTooLarge(
        f"the answer has more than {rights.max_answer_bytes / 1e6:,.0f} MB; select fewer columns or rows, or aggregate"
    )


def _unique(names: list[str]) -> list[str]:
    """The names, with a number behind each that came before: most readers take no column name twice."""
    unique: list[str] = []
    for name in names:
        numbered = (name if n == 0 else f"{name}_{n}" for n in itertools.count())
        unique.append(next(candidate for candidate in numbered if candidate not in unique))
    return unique


__all__ = ["Answer", "Format", "QueriesBusy", "QueryRefused", "Rights", "answer"]
