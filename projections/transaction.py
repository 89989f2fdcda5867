"""All of a block's writes, or none."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit when the block ends, roll back whole when it raises."""
    connection.begin()
    try:
        yield
        connection.commit()
    except BaseException:
        # A commit that failed, for want of room on the disk, has rolled back by itself.
        with suppress(duckdb.TransactionException):
            connection.rollback()
        raise
