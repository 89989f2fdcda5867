"""Views built anew: what is being built, for those who look; on request one build at a time, cancelled from outside."""

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import duckdb
import structlog

from api.standstill import sentence_of
from projections import Projector, rebuild
from projections.computing import Progress, nobody
from projections.registry import resting_on
from projections.view import ViewRefused

LOG_EVERY_S = 5.0
END_S = 60.0
"""How long a build that was cancelled may take to notice."""

log = structlog.get_logger()


class RebuildRunning(Exception):
    """Views are being built already."""


class Cancelled(Exception):
    """The build was given up on request; it goes on from there the next time."""


class Building:
    """What is being built at the moment. `note` is what a builder calls with its progress."""

    def __init__(self, watch: Progress = nobody) -> None:
        self._watch = watch
        self._logged_at = 0.0
        self.at: tuple[str, float] | None = None

    def note(self, view: str, done: float) -> None:
        """`view` is at work, and `done` of the whole, from 0 to 1. Logs now and then."""
        begins, ends = self.at is None, done >= 1.0
        self.at = None if ends else (view, done)
        if ends or begins or time.monotonic() - self._logged_at > LOG_EVERY_S:
            self._logged_at = time.monotonic()
            log.info("building views", view=view, done=round(done, 3))
        self._watch(view, done)

    def over(self) -> None:
        """No build runs any more, however it ended."""
        self.at = None


class Rebuilds:
    """Builds that somebody asked for, each on a thread of its own, one at a time."""

    def __init__(self, building: Building, database: Path) -> None:
        self._building = building
        self._database = database
        self._lock = Lock()
        self._running: Rebuild | None = None

    def start(self, projector: Projector, view: str | None, tell: Callable[[dict[str, Any]], None]) -> "Rebuild":
        """Begins to build `view` and those that rest on it, or all, and tells documents: `{"view", "done"}` as it goes
        on, at last `{"rebuilt", "seconds"}` or `{"error"}`.

        Raises RebuildRunning; one that was cancelled is waited for.
        """
        with self._lock:
            if self._running is not None and self._running.is_cancelled:
                self._running.wait(END_S)
            if self._building.at is not None or (self._running is not None and self._running.is_alive):
                view_at_work, done = self._building.at or ("", 0.0)
                at = f" ({view_at_work}, {done:.0%})" if view_at_work else ""
                raise RebuildRunning(f"views are being built already{at}; try again when that is done")
            self._running = Rebuild(projector, view, self._building, self._database, tell)
            return self._running

    def cancel(self) -> None:
        """Cancels what runs; `stop` waits for it to end."""
        if self._running is not None:
            self._running.cancel()

    def stop(self) -> None:
        """Cancels what runs and waits for it to end."""
        self.cancel()
        if self._running is not None:
            self._running.wait(None)


class Rebuild:
    """One build, on its thread."""

    def __init__(
        self,
        projector: Projector,
        view: str | None,
        building: Building,
        database: Path,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._projector = projector
        self._view = view
        self._building = building
        self._database = database
        self._tell = tell
        self._cancelled = Event()
        self._thread = Thread(target=self._run, name="rapport-rebuilding")
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    @property
    def is_cancelled(self) -> bool:
        """Whether it was told to give up."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Gives up after the view and part at hand; finished parts are kept. Nothing when it is over."""
        self._cancelled.set()

    def wait(self, timeout_s: float | None) -> None:
        """Returns when it is over, or after the time."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        started = time.monotonic()
        try:
            rebuild(self._projector, self._view, self._note)
        except Cancelled:
            log.info("rebuild cancelled", view=self._view)
            self._tell({"error": "cancelled; what is finished is kept, and the next rebuild goes on from there"})
        except (ViewRefused, duckdb.Error) as error:
            log.error("rebuild failed", view=self._view, error=type(error).__name__)
            self._tell({"error": sentence_of(error, self._database)})
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to; whoever asked is told
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("rebuild failed", error=type(error).__name__, file=place.filename, line=place.lineno)
            self._tell({"error": f"a fault in Rapport ({type(error).__name__}); the node's log has the rest"})
        else:
            names = [view.name for view in stored_with(self._projector, self._view)]
            seconds = round(time.monotonic() - started, 3)
            log.info("views rebuilt", views=names, seconds=seconds)
            self._tell({"rebuilt": names, "seconds": seconds})
        finally:
            self._building.over()

    def _note(self, view: str, done: float) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self._building.note(view, done)
        self._tell({"view": view, "done": round(done, 4)})


def stored_with(projector: Projector, view: str | None) -> list[Any]:
    """The views that a rebuild of `view` builds, or of all. Raises KeyError when none of that name is stored."""
    views = [v for v in projector.views if v.stored]
    return views if view is None else list(resting_on({v.name: v for v in views}[view], views))
