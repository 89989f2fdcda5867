"""What a running query is stopped for: its time, and memory that DuckDB does not count."""

import time
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

import duckdb

from api.sql.refusals import QueryTooBig, QueryTooLong

LOOK_EVERY_S = 0.05
MOST_GROWTH_BYTES = 3_000_000_000
"""What the process may grow by while a query runs: DuckDB's own limit and half as much again.

Single values (a text doubled forty times) lie outside of what DuckDB counts and limits.
"""

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = 4_096


class Watch:
    """Interrupts a cursor when its query takes too long or too much. Use as a context manager."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, max_seconds: float) -> None:
        self._cursor = cursor
        self._max_seconds = max_seconds
        self._over = Event()
        self._trouble: QueryTooLong | QueryTooBig | None = None
        self._thread = Thread(target=self._look, name="rapport-query-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def check(self) -> None:
        """Raises QueryTooLong or QueryTooBig when the query was stopped for it."""
        if self._trouble is not None:
            raise self._trouble

    def _look(self) -> None:
        deadline, most_bytes = time.monotonic() + self._max_seconds, resident_bytes() + MOST_GROWTH_BYTES
        while not self._over.wait(min(LOOK_EVERY_S, max(0.0, deadline - time.monotonic()))):
            if self._trouble is None and time.monotonic() >= deadline:
                self._trouble = QueryTooLong(f"the query took longer than {self._max_seconds:g} s and was stopped")
            elif self._trouble is None and resident_bytes() > most_bytes:
                self._trouble = QueryTooBig("the query took more memory than queries have and was stopped")
            if self._trouble is not None:
                self._cursor.interrupt()
                # An interrupt between two statements is lost; so it is said again until the query is over.
                deadline = time.monotonic() + LOOK_EVERY_S


def resident_bytes() -> int:
    """Memory that this process holds; 0 where the system does not say so in `/proc`."""
    try:
        return int(_STATM.read_text("ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
