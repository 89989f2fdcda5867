"""Opening the DuckDB file of a node, safely and with a clear answer when that cannot be done."""

import shutil
from pathlib import Path

import duckdb

MEMORY_LIMIT = "2GB"
MOST_SPILLED_MB = 20_000
"""What queries and rebuilds may put on disk beyond memory; at most half of what is free when the file is opened."""
CHECKPOINT_AFTER = "256MB"
"""How much of the write-ahead log is folded into the file at a time; each time costs up to a second."""
INDEXED_KEYS = 1_000
"""Up to this many keys are looked up through an index; more are found by a scan, which is then quicker."""


class DatabaseUnreadable(Exception):
    """The file is not a DuckDB database that this version can read."""


class DatabaseLocked(Exception):
    """Another process holds the file; DuckDB allows one process that writes."""


def open_database(path: Path, *, memory_limit: str = MEMORY_LIMIT) -> duckdb.DuckDBPyConnection:
    """The database at `path`, for reading and writing, created when there is none.

    SQL run on it reaches no other file and no network, and loads no extension. Every cursor counts time in UTC.

    Raises DatabaseLocked or DatabaseUnreadable.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": False,
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "memory_limit": memory_limit,
        "max_temp_directory_size": f"{_most_spilled_mb(path)}MB",
        "dynamic_or_filter_threshold": INDEXED_KEYS,
        "checkpoint_threshold": CHECKPOINT_AFTER,
    }
    try:
        connection = duckdb.connect(path, config=settings)
    except duckdb.IOException as error:
        if "could not set lock" in str(error).lower():
            raise DatabaseLocked(f"{path} is open in another process; stop that process first") from error
        raise DatabaseUnreadable(f"{path} cannot be read as a DuckDB database: {error}") from error
    except duckdb.Error as error:
        raise DatabaseUnreadable(f"{path} cannot be read as a DuckDB database: {error}") from error
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def _most_spilled_mb(path: Path) -> int:
    """So that no query fills the disk that the mirror grows on."""
    folder = path.absolute().parent
    free_mb = shutil.disk_usage(folder).free // 1_000_000 if folder.exists() else MOST_SPILLED_MB
    return max(1, min(MOST_SPILLED_MB, free_mb // 2))
