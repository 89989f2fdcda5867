"""The views' file opened again: after DuckDB has shut it, as it does when a checkpoint fails for want of room, or
with a file written anew in its place."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import duckdb
import structlog
from eventsourcing.persistence import OperationalError

from infra.duckdb.database import ITS_FILES, copy_of
from infra.replacing import sync
from projections import Projector, rewriting

LOOK_EVERY_S = 1.0
CLOSED_WITHIN_S = 10.0

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


class Replacing:
    """Puts a file written anew in the place of the one in use. Killed at any moment, one of the two is there whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beside = copy_of(path)

    @contextmanager
    def written(self, projector: Projector) -> Iterator[None]:
        """In the block the new file is there, whole and on disk; what is left of it afterwards is removed."""
        self.discard()
        try:
            rewriting.rewrite(projector, self._beside)
            sync(self._beside)
            yield
        finally:
            self.discard()

    def replace(self) -> None:
        """Puts it in place, once nobody reads the old one any more. Raises OperationalError when that does not end."""
        until = monotonic() + CLOSED_WITHIN_S
        while _is_open(self._path):
            if monotonic() > until:
                raise OperationalError("somebody keeps reading from the views' file")
            sleep(0.05)
            gc.collect()
        if self._path.with_name(self._path.name + ".wal").exists():
            raise OperationalError("the views' file could not be closed cleanly")
        self._beside.replace(self._path)
        sync(self._path.parent)

    def discard(self) -> None:
        """Removes what an attempt left."""
        for suffix in ITS_FILES:
            self._beside.with_name(self._beside.name + suffix).unlink(missing_ok=True)


def _is_open(path: Path) -> bool:
    """Whether this process has the database open: then it cannot be opened in another way."""
    try:
        duckdb.connect(path, read_only=True).close()
    except (duckdb.ConnectionException, duckdb.ResourceInUseException):
        return True
    return False
