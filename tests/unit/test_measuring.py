"""What the projector tells of its batches: each event once, whichever way it came in."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.duckdb import open_database
from infra.metrics import LAST, Batches
from projections import Projector
from tests.unit.histories import recorded, table
from tests.unit.test_projector import PEOPLE

HISTORY = recorded(PEOPLE)
Told = list[tuple[int, float]]


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[tuple[Projector, Told]]:
    told: Told = []
    projector = Projector(
        open_database(tmp_path / "views.duckdb"), on_batch=lambda events, apply_s: told.append((events, apply_s))
    )
    yield projector, told
    projector.close()


def test_only_what_is_new_counts(measured: tuple[Projector, Told]) -> None:
    projector, told = measured
    projector.apply(table(HISTORY[:3]))
    projector.apply(table(HISTORY[:3]))
    projector.apply(table(HISTORY[1:5]))
    assert [events for events, _ in told] == [3, 2]
    assert all(apply_s > 0 for _, apply_s in told)


def test_what_is_filled_in_counts_once_also_while_views_are_being_built(
    measured: tuple[Projector, Told],
) -> None:
    projector, told = measured
    projector.fill(table(HISTORY[:3]))
    building, over = threading.Event(), threading.Event()

    def build() -> None:
        with projector.build_lock:
            building.set()
            over.wait(60)

    builder = threading.Thread(target=build)
    builder.start()
    assert building.wait(60)
    # Nothing is left to settle: a settling that builds would wait for the one that holds the lock.
    threading.Timer(0.5, over.set).start()
    projector.fill(table(HISTORY[3:]))
    builder.join()
    projector.settle()
    assert [events for events, _ in told] == [3, len(HISTORY) - 3]


def test_a_batch_that_fails_is_not_told(measured: tuple[Projector, Told]) -> None:
    projector, told = measured
    projector.connection.execute("alter table ops.dead_letters rename to elsewhere")
    with pytest.raises(Exception, match="dead_letters"):
        projector.apply(table(HISTORY))
    assert told == []


def test_a_closed_file_can_be_opened_again_although_a_state_of_knowledge_was_kept(tmp_path: Path) -> None:
    for _ in range(2):
        projector = Projector(open_database(tmp_path / "views.duckdb"), on_batch=lambda *_: None)
        projector.apply(table(HISTORY))
        with projector.known.of_all(3, ["profile"]) as then:
            assert then.execute("select count(*) from pii.profile").fetchall() == [(1,)]
        projector.close()
    (tmp_path / "views.duckdb").unlink()


def test_median_and_95th_percentile_are_those_of_the_last_batches() -> None:
    batches = Batches()
    assert batches.last() is None
    for number in range(1, LAST + 101):
        batches.note(number, number / 1_000)
    found = batches.last()
    assert found is not None
    of_those = sorted(range(101, LAST + 101))
    assert (found["events"], found["batches"]) == (LAST + 100, LAST)
    assert found["apply_p50_ms"] == of_those[(LAST - 1) // 2]
    assert sum(n <= found["apply_p95_ms"] for n in of_those) / LAST >= 0.95
    assert sum(n < found["apply_p95_ms"] for n in of_those) / LAST < 0.95


def test_of_one_batch_the_median_is_its_time() -> None:
    batches = Batches()
    batches.note(5, 0.0123)
    found = batches.last()
    assert found is not None
    assert (found["apply_p50_ms"], found["apply_p95_ms"], found["apply_ms"]) == (12.3, 12.3, 12.3)
