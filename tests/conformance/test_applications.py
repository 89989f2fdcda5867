"""The library's cases for applications."""

from __future__ import annotations

import os
from unittest import mock

from eventsourcing.tests import application
from eventsourcing.utils import get_topic

from infra.jetstream import Factory
from tests.conformance.places import OneServer, Place, ThreeReplicas, close_factories_after


class Applications(Place):
    """Applications take their settings from the process's environment; each case has a ledger of its own."""

    expected_factory_topic = get_topic(Factory)

    def setUp(self) -> None:
        super().setUp()
        self.enterContext(mock.patch.dict(os.environ, self.environment()))
        close_factories_after(self)


class TestExampleApplication(Applications, OneServer, application.ExampleApplicationTestCase):
    """Accounts, with snapshots."""


class TestExampleApplicationReplicated(Applications, ThreeReplicas, application.ExampleApplicationTestCase):
    """The same on three replicas."""


class TestApplication(Applications, OneServer, application.ApplicationTestCase):
    """Saving, notifications and the cache of aggregates."""


class TestApplicationReplicated(Applications, ThreeReplicas, application.ApplicationTestCase):
    """The same on three replicas."""
