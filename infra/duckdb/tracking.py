"""Where projections stand, kept in DuckDB beside what they made of the events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files

from duckdb import DuckDBPyConnection
from eventsourcing.persistence import IntegrityError, Tracking, TrackingRecorder

from infra.duckdb.datastore import DuckDBDatastore


@cache
def _sql(name: str) -> str:
    return files("infra.duckdb").joinpath(name + ".sql").read_text(encoding="utf-8")


class DuckDBTrackingRecorder(TrackingRecorder):
    """The positions of one projection, which only rise. Safe for use by many threads.

    A view is a subclass: `create_table` makes its tables too, and its writes go into a block of `tracked`. Several
    projections may share a file; `projection` tells their positions apart.
    """

    def __init__(self, datastore: DuckDBDatastore, projection: str = "") -> None:
        self.datastore = datastore
        self.projection = projection

    def create_table(self) -> None:
        """Creates in the file what is missing there."""
        with self.datastore.transaction() as cursor:
            cursor.execute(_sql("schema"))

    @contextmanager
    def tracked(self, tracking: Tracking) -> Iterator[DuckDBPyConnection]:
        """A transaction for what an event brings about: stored together with the event's position, or not at all.

        Raises IntegrityError, before anything of the block is run, when that position or a later one is stored.
        """
        position = {
            "projection": self.projection,
            "application_name": tracking.application_name,
            "notification_id": tracking.notification_id,
        }
        with self.datastore.transaction() as cursor:
            advanced = cursor.execute(_sql("advance"), position).fetchall()
            if not advanced and not cursor.execute(_sql("begin"), position).fetchall():
                raise IntegrityError(
                    f"notification {tracking.notification_id} of {tracking.application_name!r} was processed before"
                )
            yield cursor

    def insert_tracking(self, tracking: Tracking) -> None:
        """Stores a position durably. Raises IntegrityError when it or a later one is stored."""
        with self.tracked(tracking):
            pass

    def max_tracking_id(self, application_name: str) -> int | None:
        """The position in that application's events up to which all is stored, None before the first."""
        with self.datastore.reading() as cursor:
            found = cursor.execute(_sql("position"), [self.projection, application_name]).fetchall()
        return found[0][0] if found else None
