"""The library's own way to keep a view: a ProjectionRunner on PostgreSQL, events and view in the same server.

The view is about the least that can be asked of one: how often each candidate did something, and when last. Its row and
the position are one transaction, as ours are.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, AggregateEvent, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL, Identifier

from tests.benchmarks import backends
from tests.benchmarks.figures import Figure
from tests.benchmarks.views_stages import Wrong

EACH = 10
SAVED_AT_ONCE = 100
LOOK_S = 0.1
PATIENCE_S = 900.0
TABLE = "engagement"


class Person(Aggregate):
    """A candidate as the library's users write aggregates."""

    @event("Sourced")
    def __init__(self, name: str) -> None:
        self.name = name
        self.acts = 0

    @event("Engaged")
    def engage(self, act: str, message: str) -> None:
        """Something the person did."""
        self.acts += 1


class People(Application[UUID]):
    """Candidates, saved and read by the library."""


class Engagement(PostgresTrackingRecorder):
    """The view: one row a candidate."""

    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        names = (Identifier(self.datastore.schema), Identifier(TABLE))
        self.sql_create_statements.append(
            SQL("create table if not exists {}.{} (id uuid primary key, acts bigint, last_at timestamptz)").format(
                *names
            )
        )
        self._upsert = SQL(
            "insert into {0}.{1} as known values (%s, 1, %s) "
            "on conflict (id) do update set acts = known.acts + 1, last_at = excluded.last_at"
        ).format(*names)
        self._sum = SQL("select coalesce(sum(acts), 0) as acts from {}.{}").format(*names)

    def count(self, happened: AggregateEvent, tracking: Tracking) -> None:
        """One more act, and the position, or neither."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(self._upsert, (happened.originator_id, happened.timestamp), prepare=True)

    def acts(self) -> int:
        """How many acts the view has counted."""
        with self.datastore.transaction() as cursor:
            return int(cast("dict[str, Any]", cursor.execute(self._sum).fetchone())["acts"])


class Counting(Projection[Engagement]):
    """From the events into the view."""

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Every event counts."""
        self.view.count(domain_event, tracking)


def projection_runner(events: int) -> Figure:
    """Events a second from the recorder into the view, one event a transaction, as the library does it.

    Raises backends.Unavailable without PostgreSQL.
    """
    with TemporaryDirectory(prefix="rapport-bench-") as folder, backends.postgres(Path(folder)) as env:
        last = _save(events, env)
        started = time.perf_counter()
        with ExitStack() as stack:
            runner = ProjectionRunner(
                application_class=People, projection_class=Counting, view_class=Engagement, env=env
            )
            # The runner leaves the view's connections open, and PostgreSQL does not stop before its clients.
            stack.callback(runner.view.datastore.close)
            stack.enter_context(runner)
            while not runner.view.has_tracking_id(runner.app_name, last):
                if runner.is_interrupted.wait(LOOK_S) or time.perf_counter() - started > PATIENCE_S:
                    raise Wrong("the library's projection did not reach the last event")
            took = time.perf_counter() - started
            if runner.view.acts() != events:
                raise Wrong(f"the library's view counted {runner.view.acts():,} of {events:,} events")
    note = f"({events:,} events)"
    return Figure("the library's ProjectionRunner, PostgreSQL to PostgreSQL", events / took, "events/s", note=note)


def _save(events: int, env: dict[str, str]) -> int:
    """Saves that many events, ten a person; the last notification's id."""
    app = People(env=env)
    for start in range(0, events // EACH, SAVED_AT_ONCE):
        people = [Person("Ada") for _ in range(start, min(start + SAVED_AT_ONCE, events // EACH))]
        for person in people:
            for number in range(EACH - 1):
                person.engage("clicked", f"m-{number}")
        app.save(*people)
    last = app.recorder.max_notification_id()
    app.close()
    if last is None:
        raise Wrong("nothing was saved")
    return last
