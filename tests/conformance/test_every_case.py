"""No case of the library is left out but by name, with the reason."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from pathlib import Path
from unittest import TestCase

import eventsourcing.tests
import pytest
from eventsourcing.tests import application, persistence, projection

from tests.conformance import test_applications, test_factories, test_projections, test_recorders, test_tracking

LIBRARY = (persistence, application, projection)
OURS = (test_applications, test_factories, test_projections, test_recorders, test_tracking)

SKIPPED = {
    persistence.TranscoderTestCase: "about Python objects as JSON, which no persistence module has a part in",
    persistence.ProcessRecorderTestCase: (
        "wants events and a position in one transaction: ours are in JetStream and in DuckDB, which share none, and a"
        " position on the ledger would be a message that is no event"
    ),
    projection.EventSourcedProjectionTestCase: "runs on a process recorder, for which see there",
    projection.TaggedDecisionCountersProjectionTestCase: (
        "wants events selected by tags, and appends conditional on such a selection: JetStream's conditions are on the"
        " last sequence of one subject"
    ),
}
"""The classes with nothing that could be run on our modules."""

DECLINED = {
    "JetStreamFactories": {"test_create_tracking_recorder", "test_create_process_recorder"},
    "TestDuckDBFactory": {
        "test_create_aggregate_recorder",
        "test_create_application_recorder",
        "test_create_process_recorder",
    },
}
"""Single cases of classes that are run; each has its reason where it is skipped."""

ON_A_FILE = {persistence.TrackingRecorderTestCase, projection.EventCountersViewTestCase}
"""Cases of DuckDB alone. All others run on a server, on one replica and on three."""


def cases() -> list[type]:
    """The classes of the library's three modules that hold test cases."""
    return [
        member
        for module in LIBRARY
        for member in vars(module).values()
        if isinstance(member, type)
        and member.__module__ == module.__name__
        and (issubclass(member, TestCase) or names(member))
    ]


def names(case: type) -> list[str]:
    return [name for name in dir(case) if name.startswith(("test", "optional_test"))]


def ours(case: type) -> Iterator[type]:
    """Our classes that run a case of the library."""
    for module in OURS:
        for member in vars(module).values():
            if isinstance(member, type) and issubclass(member, case) and member.__module__ == module.__name__:
                yield member


def test_the_library_has_no_other_module_of_cases() -> None:
    modules = {module.name for module in pkgutil.iter_modules(eventsourcing.tests.__path__)}
    assert modules == {"application", "persistence", "projection"} | {"domain", "postgres_utils"}


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.__name__)
def test_a_class_runs_on_one_replica_and_on_three_or_is_skipped_by_name(case: type) -> None:
    replicas = {getattr(cls, "replicas", None) for cls in ours(case)}
    if case in SKIPPED:
        assert not replicas
    elif case in ON_A_FILE:
        assert replicas == {None}
    else:
        assert {1, 3} <= replicas


@pytest.mark.parametrize("case", [case for case in cases() if case not in SKIPPED], ids=lambda case: case.__name__)
def test_every_case_of_a_class_that_runs_is_the_librarys_own(case: type) -> None:
    """None is replaced but those declined, and the optional ones are run too."""
    for cls in ours(case):
        declined = {name for base in cls.__mro__ for name in DECLINED.get(base.__name__, ())}
        for name in names(case):
            if name.startswith("optional_"):
                assert hasattr(cls, name.removeprefix("optional_")), f"{cls.__name__} does not run {name}"
            else:
                is_ours = getattr(cls, name) is not getattr(case, name)
                assert is_ours == (name in declined), f"{cls.__name__}.{name}"


def test_what_is_skipped_is_there_to_be_skipped() -> None:
    assert set(SKIPPED) | ON_A_FILE <= set(cases())


def test_the_documents_name_every_class_and_the_reason_for_what_is_skipped() -> None:
    table = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()
    for case in cases():
        rows = [row for row in table.splitlines() if row.startswith(f"| `{case.__name__}`")]
        assert rows, case.__name__
        assert SKIPPED.get(case, "") in rows[0]
