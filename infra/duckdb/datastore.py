"""A DuckDB file as recorders use it: one transaction that writes at a time, and readers that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
from eventsourcing import persistence
from eventsourcing.persistence import OperationalError, ProgrammingError

from infra.duckdb.database import DatabaseLocked, DatabaseUnreadable, open_database

_ERRORS: dict[type[duckdb.Error], type[persistence.DatabaseError]] = {
    duckdb.DataError: persistence.DataError,
    duckdb.IntegrityError: persistence.IntegrityError,
    duckdb.InternalError: persistence.InternalError,
    duckdb.NotSupportedError: persistence.NotSupportedError,
    duckdb.OperationalError: OperationalError,
    duckdb.ProgrammingError: ProgrammingError,
}


class _Turn:
    """The right to write to a file, held by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    def __enter__(self) -> None:
        if self._holder == threading.get_ident():
            raise ProgrammingError("a transaction is open in this thread already: write with its cursor")
        self._lock.acquire()
        self._holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._holder = None
        self._lock.release()


# DuckDB lets one process write to a file, so that turns kept here are taken by everybody who could be in the way.
_turns: dict[Path, _Turn] = {}


class DuckDBDatastore:
    """The DuckDB file at a path, created when there is none. Safe for use by many threads.

    DuckDB's errors are raised as the library's of the same name. Raises OperationalError when another process holds
    the file or it is not a DuckDB database.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._connection = open_database(path)
        except (DatabaseLocked, DatabaseUnreadable) as error:
            raise OperationalError(str(error)) from error
        self._turn = _turns.setdefault(path.resolve(), _Turn())

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor; what it writes is on disk when the block ends, and none of it is kept when the block raises.

        Transactions on a file, of all threads and datastores, come one after the other. Raises ProgrammingError for
        one inside another, which would never get its turn.
        """
        with self._turn, self.reading() as cursor:
            cursor.begin()
            yield cursor  # when the block raises, the transaction ends unfinished with its cursor
            cursor.commit()

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of the block's own, which sees what is committed and waits for no writer."""
        try:
            with closing(self._connection.cursor()) as cursor:
                yield cursor
        except duckdb.Error as error:
            ours = (ours for theirs, ours in _ERRORS.items() if isinstance(error, theirs))
            raise next(ours, persistence.DatabaseError)(str(error)) from error

    def close(self) -> None:
        """Closes the file once no other datastore has it open. Safe to call twice."""
        self._connection.close()
