"""Opening the DuckDB file of a node, safely and with a clear answer when that cannot be done."""

import shutil
from pathlib import Path

import duckdb

from infra.priority import giving_way

MEMORY_LIMIT = "2GB"
MOST_SPILLED_MB = 20_000
"""What queries and rebuilds may put on disk beyond memory; at most half of what is free when the file is opened."""
CHECKPOINT_AFTER = "256MB"
"""How much of the write-ahead log is folded into the file at a time; each time costs up to a second."""
ITS_FILES = ("", ".wal", ".wal.checkpoint", ".wal.recovery")
"""What DuckDB adds to the name of a database for the files beside it."""
INDEXED_KEYS = 1_000
"""Up to this many keys are looked up through an index; more are found by a scan, which is then quicker."""


class DatabaseUnreadable(Exception):
    """The file is not a DuckDB database that this version can read."""


class DatabaseLocked(Exception):
    """Another process holds the file; DuckDB allows one process that writes."""


def copy_of(path: Path) -> Path:
    """Where the database at `path` may be written anew."""
    return path.with_name(path.name + ".new")


def open_database(path: Path, *, memory_limit: str = MEMORY_LIMIT) -> duckdb.DuckDBPyConnection:
    """The database at `path`, for reading and writing, created when there is none.

    SQL run on it reaches no other file but `copy_of(path)` and no network, and loads no extension. Every cursor counts
    time in UTC.

    Raises DatabaseLocked or DatabaseUnreadable.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "memory_limit": memory_limit,
        "max_temp_directory_size": f"{_most_spilled_mb(path)}MB",
        "dynamic_or_filter_threshold": INDEXED_KEYS,
        "checkpoint_threshold": CHECKPOINT_AFTER,
    }
    try:
        connection = giving_way(lambda: duckdb.connect(path, config=settings))  # its threads are made here
    except duckdb.IOException as error:
        if "could not set lock" in str(error).lower():
            raise DatabaseLocked(f"{path} is open in another process; stop that process first") from error
        raise DatabaseUnreadable(f"{path} cannot be read as a DuckDB database: {error}") from error
    except duckdb.Error as error:
        raise DatabaseUnreadable(f"{path} cannot be read as a DuckDB database: {error}") from error
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    if sql_may_read_files(connection):
        # What queries of a process that was killed had put on disk; DuckDB leaves it there.
        shutil.rmtree(path.with_name(path.name + ".tmp"), ignore_errors=True)
        beside = str(copy_of(path.absolute())).replace("'", "''")
        allowed = ", ".join(f"'{beside}{suffix}'" for suffix in ITS_FILES)
        connection.execute(f"SET GLOBAL allowed_paths = [{allowed}]")  # a setting takes no parameters
        connection.execute("SET GLOBAL enable_external_access = false")
    return connection


def sql_may_read_files(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the database has not been closed off yet; every connection of a process to one file shares it."""
    rows = connection.execute("select current_setting('enable_external_access')").fetchall()
    return bool(rows[0][0])


def _most_spilled_mb(path: Path) -> int:
    """So that no query fills the disk that the mirror grows on."""
    folder = path.absolute().parent
    free_mb = shutil.disk_usage(folder).free // 1_000_000 if folder.exists() else MOST_SPILLED_MB
    return max(1, min(MOST_SPILLED_MB, free_mb // 2))
