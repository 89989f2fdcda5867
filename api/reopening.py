"""The views' file opened again after DuckDB has shut it, as it does when a checkpoint fails for want of room."""

import gc
from collections.abc import Callable
from threading import Event, Thread

import duckdb
import structlog

from projections import Projector

LOOK_EVERY_S = 1.0

log = structlog.get_logger()


def is_shut(projector: Projector) -> bool:
    """Whether DuckDB takes nothing more for this file until it has been closed and opened again."""
    try:
        with projector.cursor() as cursor:
            cursor.execute("select 1").fetchall()
    except (duckdb.FatalException, duckdb.ConnectionException):
        return True
    except duckdb.Error:
        return False
    return False


class Reopening:
    """Looks each second, on a thread of its own, and calls `reopen` until that succeeds. `failure` says why it did not.

    Until then reads are refused; nothing is lost, for what was not committed is read from the ledger again.
    """

    def __init__(self, is_needed: Callable[[], bool], reopen: Callable[[], None]) -> None:
        self._is_needed = is_needed
        self._reopen = reopen
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="rapport-reopening")
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; a file that is being opened is opened to the end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            if not self._is_needed():
                self.failure = None
                continue
            gc.collect()  # a cursor that is held by nobody any more, but not yet gone, keeps the shut database alive
            try:
                self._reopen()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again, and readiness tells of it
                self.failure = error
                log.error("views stay shut, trying again", error=type(error).__name__)
            else:
                self.failure = None
                log.info("views opened again")
