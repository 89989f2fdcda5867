"""The library's own conformance cases, on a real server."""

from __future__ import annotations

import sys
from uuid import uuid4

import eventsourcing.cryptography
import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    NotSupportedError,
    ProcessRecorder,
    TrackingRecorder,
)
from eventsourcing.utils import Environment

# The library's cases want its cipher that needs pycryptodome; it ships the same one for `cryptography`, which we have.
sys.modules.setdefault("eventsourcing.cipher", eventsourcing.cryptography)

from eventsourcing.tests.persistence import (  # noqa: E402 - after the line above
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    InfrastructureFactoryTestCase,
    NonInterleavingNotificationIDsBaseCase,
)

from infra.jetstream import Factory, JetStreamAggregateRecorder, JetStreamApplicationRecorder  # noqa: E402 - likewise
from tests.servers import (  # noqa: E402 - likewise
    fresh_name,
    fresh_recorder,
    fresh_stream,
    shared_connection,
    shared_server,
)


class TestAggregateRecorder(AggregateRecorderTestCase):
    """The library's cases for aggregate recorders."""

    def create_recorder(self) -> AggregateRecorder:
        return JetStreamAggregateRecorder(shared_connection(), fresh_stream())


class TestSnapshotRecorder(AggregateRecorderTestCase):
    """A recorder of snapshots passes them too."""

    def create_recorder(self) -> AggregateRecorder:
        return JetStreamAggregateRecorder(shared_connection(), fresh_stream(), purpose="snapshots")


class TestAggregateRecorderWithNames(TestAggregateRecorder):
    """Ids may be our own kind of text."""

    def new_originator_id(self) -> str:
        return f"candidate-{uuid4().hex}"


class TestApplicationRecorder(ApplicationRecorderTestCase[ApplicationRecorder]):
    """The library's cases for application recorders, with the optional one."""

    def create_recorder(self) -> ApplicationRecorder:
        return fresh_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNonInterleaving(NonInterleavingNotificationIDsBaseCase):
    """Two appends of 1,000 events at once do not interleave."""

    def create_recorder(self) -> ApplicationRecorder:
        return fresh_recorder()


class TestFactory(InfrastructureFactoryTestCase[Factory]):
    """`PERSISTENCE_MODULE=infra.jetstream` resolves to our factory, and it makes our recorders."""

    def setUp(self) -> None:
        self.env = Environment(
            env={
                "PERSISTENCE_MODULE": "infra.jetstream",
                "NATS_URL": shared_server().url,
                "NATS_STREAM": fresh_name("FACTORY"),
            }
        )
        super().setUp()

    def expected_factory_class(self) -> type[Factory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        return JetStreamAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return JetStreamApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        raise NotImplementedError

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        raise NotImplementedError

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        raise NotImplementedError

    @pytest.mark.skip(reason="JetStream alone has no tracking recorder: checkpoints are in DuckDB with the views")
    def test_create_tracking_recorder(self) -> None: ...

    @pytest.mark.skip(reason="JetStream alone has no process recorder: checkpoints are in DuckDB with the views")
    def test_create_process_recorder(self) -> None: ...

    def test_says_what_it_does_not_offer(self) -> None:
        with self.assertRaisesRegex(NotSupportedError, "tracking"):
            self.factory.tracking_recorder()
        with self.assertRaisesRegex(NotSupportedError, "process"):
            self.factory.process_recorder()


del AggregateRecorderTestCase, ApplicationRecorderTestCase  # imported cases are no tests of this module
del InfrastructureFactoryTestCase, NonInterleavingNotificationIDsBaseCase
