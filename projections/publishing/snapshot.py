"""A copy of schema `main` as a DuckDB file that DuckDB 1.5 and later open read-only."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from domain.event import utc_now
from infra.replacing import replacing
from projections.publishing.copying import Copy, Progress, query, text

STORAGE_VERSION = "v1.5.0"
MEMORY_LIMIT = "512MB"


class PublishingFailed(Exception):
    """The copy could not be written; the one before is untouched."""


@dataclass(frozen=True)
class Snapshot:
    """A published file and what it holds: everything up to `seq`, by views last built anew at `built_at`.

    `materialised` names views that are tables in it, because they rest on what is not.
    """

    path: Path
    seq: int
    built_at: datetime | None
    published_at: datetime
    size_bytes: int
    materialised: tuple[str, ...] = ()


def position(cursor: duckdb.DuckDBPyConnection) -> tuple[int, datetime | None]:
    """The seq that a copy would have, and when the last view was built anew."""
    seq, built_at = cursor.execute(query("position")).fetchall()[0]
    return seq, built_at


def existing(path: Path) -> Snapshot | None:
    """The snapshot at `path`; None when there is none that can be read."""
    if not path.exists():
        return None
    try:
        with duckdb.connect(path, read_only=True) as file:
            (row,) = file.execute("select seq, built_at, published_at, materialised from main.snapshot").fetchall()
    except (duckdb.Error, ValueError):
        return None
    seq, built_at, published_at, materialised = row
    return Snapshot(path, seq, built_at, published_at, path.stat().st_size, tuple(materialised))


def publish(cursor: duckdb.DuckDBPyConnection, path: Path, on_progress: Progress | None = None) -> Snapshot:
    """Write everything in schema main, as `cursor` sees it now, to `path`, in the place of what is there.

    The file is written by a database of its own, fed with Arrow batches: the one that `cursor` belongs to, and with it
    the SQL of users, is given no way to any file. Raises PublishingFailed.
    """
    try:
        with replacing(path) as beside, _reading(cursor):
            seq, built_at = position(cursor)
            published_at = utc_now()
            with duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "autoload_known_extensions": False}) as writer:
                writer.execute("set TimeZone = 'UTC'")
                writer.execute(f"attach {text(str(beside))} as copy (storage_version '{STORAGE_VERSION}')")
                writer.execute("use copy")
                materialised, missing = Copy(cursor, writer, on_progress).write()
                about: dict[str, Any] = {"seq": seq, "built_at": built_at, "published_at": published_at}
                about |= {"rapport": version("rapport"), "materialised": materialised, "missing": missing}
                for statement in writer.extract_statements(query("snapshot")):
                    values = {k: v for k, v in about.items() if k in statement.named_parameters}
                    writer.execute(statement, values or None)
                writer.execute("use memory")
                writer.execute("detach copy")
            beside.chmod(0o600)
            size = beside.stat().st_size
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise PublishingFailed(
            f"the snapshot was not written ({reason}); the one before, if any, is as it was"
        ) from error
    return Snapshot(path, seq, built_at, published_at, size, tuple(materialised))


@contextmanager
def _reading(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """One state of everything, for as long as it takes."""
    cursor.execute("begin transaction read only")
    try:
        yield
    finally:
        cursor.execute("rollback")
