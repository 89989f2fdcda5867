"""The library's cases for projections: events on JetStream, the view and its position in DuckDB."""

from __future__ import annotations

import tempfile
from pathlib import Path
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.projection import ProjectionRunner
from eventsourcing.tests import projection

from tests.conformance.places import OneServer, Place, ThreeReplicas, close_factories_after
from tests.conformance.views import DuckDBEventCounters


class Projections(Place):
    view_class = DuckDBEventCounters

    def setUp(self) -> None:
        super().setUp()
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.env = self.environment() | {
            "EVENTCOUNTERS_PERSISTENCE_MODULE": "infra.duckdb",
            "EVENTCOUNTERS_DUCKDB_DBNAME": str(Path(folder) / "views.duckdb"),
        }
        close_factories_after(self)

    def test_goes_on_behind_its_position(self) -> None:
        """What is saved while no projection runs is counted when one runs again, and what was counted is not."""
        for rounds in (1, 2, 3):
            application = Application[UUID](env=self.env)
            application.save(Aggregate())
            runner = ProjectionRunner(
                application_class=Application[UUID],
                projection_class=projection.AggregateEventCountersProjection,
                view_class=self.view_class,
                env=self.env,
            )
            with runner:
                aggregate = Aggregate()
                aggregate.trigger_event(Aggregate.Event)
                last = runner.app.save(aggregate)[-1].notification.id
                runner.wait(last, timeout=30)
                self.assertEqual(2 * rounds, runner.view.get_created_event_counter())
                self.assertEqual(rounds, runner.view.get_subsequent_event_counter())
            runner.view.datastore.close()


class TestProjection(Projections, OneServer, projection.AggregateEventCountersProjectionTestCase):
    """Events are counted once each, and an error in a projection reaches whoever runs it."""


class TestProjectionReplicated(Projections, ThreeReplicas, projection.AggregateEventCountersProjectionTestCase):
    """The same on three replicas."""
