"""Keeps a published snapshot: on an interval, and when somebody asks."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import duckdb
import structlog

from infra.replacing import discard
from projections.publishing.copying import Progress
from projections.publishing.snapshot import PublishingFailed, Snapshot, existing, position, publish

log = structlog.get_logger()


class Publisher:
    """Publishes to `path` what the views hold. May be called from any thread; one copy is made at a time."""

    def __init__(self, cursor: Callable[[], duckdb.DuckDBPyConnection], path: Path, every_s: float = 0.0) -> None:
        """`cursor` gives reading connections. `every_s`: seconds between copies, 0 for none but those asked for."""
        self._cursor = cursor
        self._path = path
        self._every_s = every_s
        self._lock = threading.Lock()
        self._newest: Snapshot | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rapport-publishing")
        self.failure: PublishingFailed | None = None

    def start(self) -> None:
        """Begins to publish on the interval, if there is one."""
        if self._every_s:
            self._thread.start()

    def stop(self) -> None:
        """Gives up a copy that is being made. Safe to call twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def publish(self, on_progress: Progress | None = None) -> Snapshot:
        """A snapshot of now: a new one, or the newest when nothing has happened since.

        Raises PublishingFailed, or ConnectionException while the views' file is being opened again.
        """
        with self._lock:
            return self._publish(on_progress)

    def drop(self) -> None:
        """Takes back what is published; the next copy is made when it is due, or asked for."""
        with self._lock:
            self._path.unlink(missing_ok=True)
            discard(self._path)
            self._newest = None

    def open(self, *, fresh: bool = False) -> tuple[Snapshot, IO[bytes]]:
        """The newest snapshot (made now if there is none, or `fresh`) and its file, which whoever gets it closes.

        What replaces it later leaves the opened file as it is. Raises as `publish` does.
        """
        with self._lock:
            newest = None if fresh else self._known()
            snapshot = newest or self._publish(None)
            return snapshot, snapshot.path.open("rb")

    def _publish(self, on_progress: Progress | None) -> Snapshot:
        try:
            with self._cursor() as cursor:
                known = self._known()
                if known is not None and (known.seq, known.built_at) == position(cursor):
                    return known
                self._path.parent.mkdir(mode=0o700, exist_ok=True)
                self._newest = publish(cursor, self._path, self._told(on_progress))
                self.failure = None
                return self._newest
        except duckdb.ConnectionException:
            raise
        except duckdb.Error as error:
            raise PublishingFailed(f"the views cannot be read: {type(error).__name__}") from error
        except OSError as error:
            raise PublishingFailed(f"{self._path.parent} cannot be used: {error.strerror}") from error

    def _known(self) -> Snapshot | None:
        """What is published; None also when somebody has taken the file away."""
        if self._newest is None or not self._path.exists():
            self._newest = existing(self._path)
        return self._newest

    def _told(self, on_progress: Progress | None) -> Progress:
        def tell(done: int, total: int) -> None:
            if self._stopping.is_set():
                raise PublishingFailed("the node stops")
            if on_progress is not None:
                on_progress(done, total)

        return tell

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                snapshot = self.publish()
                log.info("snapshot published", seq=snapshot.seq, bytes=snapshot.size_bytes)
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to; `failure` says it
                if self._stopping.is_set():
                    return
                self.failure = error if isinstance(error, PublishingFailed) else PublishingFailed(type(error).__name__)
                log.error("snapshot not published, trying again at the next interval", reason=str(error))
