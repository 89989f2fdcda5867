"""The library's cases for factories: what `PERSISTENCE_MODULE` makes of our two modules."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from eventsourcing.persistence import NotSupportedError, ProcessRecorder, TrackingRecorder
from eventsourcing.tests import persistence
from eventsourcing.utils import Environment

from infra import duckdb, jetstream
from tests.conformance.places import OneServer, Place, ThreeReplicas


class JetStreamFactories(Place):
    """`PERSISTENCE_MODULE=infra.jetstream` makes recorders of events and refuses those of positions."""

    def setUp(self) -> None:
        self.env = Environment(env=self.environment())
        super().setUp()

    def expected_factory_class(self) -> type[jetstream.Factory]:
        return jetstream.Factory

    def expected_aggregate_recorder_class(self) -> type[jetstream.JetStreamAggregateRecorder]:
        return jetstream.JetStreamAggregateRecorder

    def expected_application_recorder_class(self) -> type[jetstream.JetStreamApplicationRecorder]:
        return jetstream.JetStreamApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        raise NotImplementedError

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        raise NotImplementedError

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        raise NotImplementedError

    @pytest.mark.skip(reason="JetStream has no tracking recorder: positions are in DuckDB, with the views")
    def test_create_tracking_recorder(self) -> None: ...

    @pytest.mark.skip(reason="JetStream has no process recorder: positions are in DuckDB, with the views")
    def test_create_process_recorder(self) -> None: ...

    def test_says_what_it_does_not_offer(self) -> None:
        with self.assertRaisesRegex(NotSupportedError, "tracking"):
            self.factory.tracking_recorder()
        with self.assertRaisesRegex(NotSupportedError, "process"):
            self.factory.process_recorder()


class TestJetStreamFactory(JetStreamFactories, OneServer, persistence.InfrastructureFactoryTestCase[jetstream.Factory]):
    """The factory of events."""


class TestJetStreamFactoryReplicated(
    JetStreamFactories, ThreeReplicas, persistence.InfrastructureFactoryTestCase[jetstream.Factory]
):
    """The same on three replicas."""

    def test_streams_have_three_replicas(self) -> None:
        for recorder in (self.factory.application_recorder(), self.factory.aggregate_recorder("snapshots")):
            self.assertEqual(3, jetstream.describe(recorder.connection, recorder.stream).replicas)


class View(duckdb.DuckDBTrackingRecorder):
    """A class of the user's own."""


class TestDuckDBFactory(persistence.InfrastructureFactoryTestCase[duckdb.Factory]):
    """`PERSISTENCE_MODULE=infra.duckdb` makes recorders of positions and refuses those of events."""

    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.env = Environment(
            env={"PERSISTENCE_MODULE": "infra.duckdb", "DUCKDB_DBNAME": str(Path(folder) / "views.duckdb")}
        )
        super().setUp()

    def expected_factory_class(self) -> type[duckdb.Factory]:
        return duckdb.Factory

    def expected_aggregate_recorder_class(self) -> type[persistence.AggregateRecorder]:
        raise NotImplementedError

    def expected_application_recorder_class(self) -> type[persistence.ApplicationRecorder]:
        raise NotImplementedError

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        return duckdb.DuckDBTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return View

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        raise NotImplementedError

    @pytest.mark.skip(reason="DuckDB stores no events: they are on the ledger")
    def test_create_aggregate_recorder(self) -> None: ...

    @pytest.mark.skip(reason="DuckDB stores no events: they are on the ledger")
    def test_create_application_recorder(self) -> None: ...

    @pytest.mark.skip(reason="DuckDB stores no events, so none in one transaction with a position")
    def test_create_process_recorder(self) -> None: ...

    def test_says_what_it_does_not_offer(self) -> None:
        for make in (
            self.factory.aggregate_recorder,
            self.factory.application_recorder,
            self.factory.process_recorder,
        ):
            with self.assertRaisesRegex(NotSupportedError, "DuckDB stores no events"):
                make()

    def test_says_which_variable_is_missing(self) -> None:
        with self.assertRaisesRegex(OSError, "set COUNTS_DUCKDB_DBNAME or DUCKDB_DBNAME"):
            duckdb.Factory(Environment("counts"))
