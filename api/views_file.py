"""The views' file and who writes to it: opened, closed, opened again, written anew."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock
from time import monotonic, sleep
from typing import TypeVar

import duckdb
import structlog
from eventsourcing.persistence import OperationalError

from api.building import Building, Rebuilds
from api.failures import NodeError
from api.reopening import Replacing, is_shut
from api.standstill import is_full, sentence_of
from consumers.projecting import Projecting
from domain.compliance_policy import Policy
from infra.duckdb import DatabaseUnreadable, open_database
from infra.metrics import Batches
from infra.settings import Settings
from projections import MirrorOutdated, Projector, ViewRefused
from projections.compliance_policy import with_policy
from projections.registry import VIEWS, discover

DRAIN_S, DRAIN_TRIES = 2.0, 20
"""For so long new reads are refused while those under way end; so often that is tried, with as long a pause."""
EXCHANGED_WITHIN_S = 60.0
"""For so long what is being recorded waits while the file is exchanged for another."""
LOOK_EVERY_S = 0.05

_Found = TypeVar("_Found")

log = structlog.get_logger()


class ViewsFile:
    """One node's DuckDB file. `projector` and `projecting` are others after each time that it was opened."""

    def __init__(
        self, settings: Settings, policy: Policy, building: Building, rebuilds: Rebuilds, batches: Batches
    ) -> None:
        """Opens it; views whose definition changed are built anew, which `building` is told of.

        Raises NodeError when the file is of no use.
        """
        self._settings = settings
        self._policy = policy
        self._building = building
        self._rebuilds = rebuilds
        self._batches = batches
        self._lock = RLock()
        self._exchanging = False
        self._exchanged = 0
        self._projecting_over: Callable[[Projector], Projecting] | None = None
        Replacing(settings.database.absolute()).discard()
        self.projector = self._opened()
        self.projecting: Projecting

    def start(self, projecting_over: Callable[[Projector], Projecting]) -> None:
        """Begins to keep the views in step with the ledger, and does so again whenever the file was opened anew."""
        self._projecting_over = projecting_over
        self.projecting = projecting_over(self.projector)
        self.projecting.start()

    def stop(self) -> None:
        """Ends that after the batch at hand."""
        self.projecting.stop()

    def close(self) -> None:
        """Gives up the file."""
        self.projector.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Of the projector there is now; see `Projector.cursor`."""
        return self.projector.cursor()

    def ask(self, question: Callable[[duckdb.DuckDBPyConnection], _Found]) -> _Found:
        """What `question` finds. While the file is being exchanged it is waited for, and asked again what was cut short
        by that. Raises ConnectionException when it takes too long, or the file is shut.
        """
        until = monotonic() + EXCHANGED_WITHIN_S
        while True:
            before = self._exchanged
            try:
                with self.cursor() as cursor:
                    return question(cursor)
            except duckdb.ConnectionException:
                if monotonic() > until or not (self._exchanging or self._exchanged > before):
                    raise
            sleep(LOOK_EVERY_S)

    def reached(self, seq: int, timeout_s: float) -> bool:
        """Whether the views hold everything up to `seq` within the time, which is longer while the file is being
        exchanged; at once when they stand still.
        """
        until = monotonic() + timeout_s
        latest = until + EXCHANGED_WITHIN_S
        while not self.projector.wait_for(seq, LOOK_EVERY_S if self.projecting.failure is None else 0.0):
            now = monotonic()
            if self._exchanging:
                until = min(now + timeout_s, latest)
            elif self.projecting.failure is not None or now > until:
                return False
        return True

    def is_shut(self) -> bool:
        """Whether DuckDB has given up the file."""
        return is_shut(self.projector)

    def reopen(self) -> None:
        """Goes on with the file after DuckDB has shut it. Raises NodeError while it cannot be opened."""
        with self._lock:
            if self.is_shut():
                with self._exchange():
                    self._reopen(lambda: None)

    def rewrite(self) -> None:
        """Writes the file anew, so that nothing is left in it of what it does not show any more.

        Reads are refused for some moments at the end of it, when nobody else is reading; a query that lasts too long is
        ended. Raises OperationalError, or as DuckDB does; then the old file stays in use.
        """
        with self._lock:
            replacing = Replacing(self._settings.database.absolute())
            with self._told_of_a_full_disk(), replacing.written(self.projector), self._exchange():
                for _ in range(DRAIN_TRIES):
                    if self.projector.drain(DRAIN_S):
                        break
                    sleep(DRAIN_S)
                self._reopen(replacing.replace)

    @contextmanager
    def _told_of_a_full_disk(self) -> Iterator[None]:
        """Raises OperationalError with the sentence, whatever DuckDB makes of it on the way."""
        try:
            yield
        except (duckdb.Error, OSError) as error:
            if not is_full(error):
                raise
            raise OperationalError(sentence_of(error, self._settings.database)) from error

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """In the block, whoever can wait does."""
        self._exchanging = True
        try:
            yield
        finally:
            self._exchanged += 1  # first, so that whoever looks sees one of the two
            self._exchanging = False

    def _reopen(self, between: Callable[[], None]) -> None:
        """Closes the file and opens it again, whatever becomes of what is done in between."""
        self.stop()
        self._rebuilds.stop()
        try:
            self.close()
            between()
        finally:
            self.projector = self._opened()
            if self._projecting_over is not None:
                self.start(self._projecting_over)

    def _opened(self) -> Projector:
        path = self._settings.database
        with ExitStack() as opened:
            try:
                if path.exists():
                    path.chmod(0o600)  # as written by a version that did not take care
                database = open_database(path)
                opened.callback(database.close)
                projector = self._over(database)
            except ViewRefused as error:
                raise NodeError(str(error)) from error
            except (DatabaseUnreadable, MirrorOutdated, duckdb.Error) as error:
                if is_full(error):
                    raise NodeError(sentence_of(error, path)) from error
                reason = str(error).strip().partition("\n")[0]
                raise NodeError(
                    f"the views in {path} cannot be used ({reason}); move the file away and start again: "
                    "they are built anew from the ledger"
                ) from error
            finally:
                self._building.over()
            opened.pop_all()
        kept = {view.name for view in projector.views}
        for refused in projector.refused:
            log.error("view refused", view=refused.view, reason=str(refused), kept=refused.view in kept)
        return projector

    def _over(self, database: duckdb.DuckDBPyConnection) -> Projector:
        """Over the views that come with Rapport and those in the folder set."""
        settings = self._settings
        views, refused, folder = VIEWS, list[ViewRefused](), settings.views
        if folder is not None:
            if not folder.is_dir():
                raise NodeError(f"{folder} (RAPPORT_VIEWS) is no folder; name one, or leave it unset")
            views = (*VIEWS, *discover(folder, VIEWS, refused=refused))
        views = with_policy(views, self._policy, settings.jurisdiction)
        return Projector(database, views, self._building.note, self._batches.note, refused)
