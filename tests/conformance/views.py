"""A view in DuckDB: its rows and its position in one transaction."""

from eventsourcing.persistence import Tracking
from eventsourcing.tests.projection import EventCountersView

from infra.duckdb import DuckDBTrackingRecorder


class DuckDBEventCounters(DuckDBTrackingRecorder, EventCountersView):
    """How many aggregates were created, and how many events they have had since: a row for each."""

    def create_table(self) -> None:
        super().create_table()
        with self.datastore.transaction() as cursor:
            cursor.execute("create table if not exists counted (kind varchar)")

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._record("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._record("subsequent", tracking)

    def _record(self, kind: str, tracking: Tracking) -> None:
        with self.tracked(tracking) as cursor:
            cursor.execute("insert into counted values (?)", [kind])

    def _count(self, kind: str) -> int:
        with self.datastore.reading() as cursor:
            return cursor.execute("select count(*) from counted where kind = ?", [kind]).fetchall()[0][0]
