"""The library's cases for recorders."""

from __future__ import annotations

from uuid import uuid4

from eventsourcing.persistence import AggregateRecorder, ApplicationRecorder
from eventsourcing.tests import persistence

from infra.jetstream import JetStreamAggregateRecorder, JetStreamApplicationRecorder
from tests.conformance.places import OneServer, Place, ThreeReplicas


class AggregateRecorders(Place):
    def create_recorder(self) -> AggregateRecorder:
        return JetStreamAggregateRecorder(self.connection(), self.fresh_stream())


class SnapshotRecorders(Place):
    def create_recorder(self) -> AggregateRecorder:
        return JetStreamAggregateRecorder(self.connection(), self.fresh_stream(), purpose="snapshots")


class ApplicationRecorders(Place):
    def create_recorder(self) -> ApplicationRecorder:
        return JetStreamApplicationRecorder(self.connection(), self.fresh_stream())


class TestAggregateRecorder(AggregateRecorders, OneServer, persistence.AggregateRecorderTestCase):
    """A recorder of aggregates' events."""


class TestAggregateRecorderReplicated(AggregateRecorders, ThreeReplicas, persistence.AggregateRecorderTestCase):
    """The same on three replicas."""


class TestAggregateRecorderWithNames(TestAggregateRecorder):
    """Ids may be our own kind of text."""

    def new_originator_id(self) -> str:
        return f"candidate-{uuid4().hex}"


class TestSnapshotRecorder(SnapshotRecorders, OneServer, persistence.AggregateRecorderTestCase):
    """A recorder of snapshots passes them too."""


class TestSnapshotRecorderReplicated(SnapshotRecorders, ThreeReplicas, persistence.AggregateRecorderTestCase):
    """The same on three replicas."""


class TestApplicationRecorder(ApplicationRecorders, OneServer, persistence.ApplicationRecorderTestCase):
    """A recorder of an application's events, with the optional case for subscriptions."""

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestApplicationRecorderReplicated(ApplicationRecorders, ThreeReplicas, persistence.ApplicationRecorderTestCase):
    """The same on three replicas."""

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNonInterleaving(ApplicationRecorders, OneServer, persistence.NonInterleavingNotificationIDsBaseCase):
    """Two appends of 1,000 events at once do not interleave."""


class TestNonInterleavingReplicated(
    ApplicationRecorders, ThreeReplicas, persistence.NonInterleavingNotificationIDsBaseCase
):
    """Nor do they on three replicas."""
