"""The library's cases for positions and for views that keep theirs, in a DuckDB file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from eventsourcing.tests import persistence, projection

from infra.duckdb import DuckDBDatastore, DuckDBTrackingRecorder
from tests.conformance.views import DuckDBEventCounters


class DuckDBFile:
    """A file of the case's own."""

    def setUp(self) -> None:
        super().setUp()
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.datastore = DuckDBDatastore(Path(folder) / "views.duckdb")
        self.addCleanup(self.datastore.close)


class TestDuckDBTrackingRecorder(DuckDBFile, persistence.TrackingRecorderTestCase):
    """Positions rise, each is stored once, and they can be waited for."""

    def create_recorder(self) -> DuckDBTrackingRecorder:
        recorder = DuckDBTrackingRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestDuckDBView(DuckDBFile, projection.EventCountersViewTestCase):
    """A view counts each event once, whoever tells it twice."""

    def construct_event_counters_view(self) -> DuckDBEventCounters:
        view = DuckDBEventCounters(self.datastore)
        view.create_table()
        return view
