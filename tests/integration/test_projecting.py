"""From a real ledger into a real mirror: every event once and in order, whatever fails in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from consumers import projecting
from consumers.projecting import Projecting
from domain import candidate as c
from infra import codec
from infra.crypto.keyring import Keyring
from infra.crypto.master import LocalMasterKey
from infra.crypto.sealing import new_key
from infra.duckdb import open_database
from infra.jetstream import Bucket, LedgerReader
from projections import Projector
from tests.servers import fresh_name, fresh_recorder, shared_connection
from tests.unit.histories import EPOCH
from tests.views import empty_views

COUNT = 40


class Ledger:
    """An empty ledger with keys, and a mirror of its own."""

    def __init__(self, projector: Projector) -> None:
        self.recorder = fresh_recorder()
        self.keyring = Keyring(Bucket(shared_connection(), fresh_name("keys")), LocalMasterKey(new_key()))
        self.reader = LedgerReader(self.recorder.connection, self.recorder.stream)
        self.projector = projector

    def record(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            name = f"candidate-{number:032x}"
            key = self.keyring.make([name])[name]
            event = c.Sourced(occurred_at=EPOCH, actor="user:x", source="ats", first_name=f"Ada {number}")
            self.recorder.insert_events([codec.encode(name, 1, event, key)])

    def projecting(self, batch_events: int) -> Projecting:
        return Projecting(self.reader, self.projector, self.keyring, batch_events)

    def mirrored(self) -> list[tuple[Any, ...]]:
        with self.projector.cursor() as cur:
            rows = cur.execute("select seq, e.id, first_name from events e join pii.events using (seq) order by seq")
            return [(seq, str(id_).replace("-", ""), first_name) for seq, id_, first_name in rows.fetchall()]


def expected(count: int) -> list[tuple[Any, ...]]:
    return [(number, f"{number:032x}", f"Ada {number}") for number in range(1, count + 1)]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(projecting, "PAGE_EVENTS", 3)
    monkeypatch.setattr(projecting, "RETRY_AFTER_S", 0.01)
    with closing(open_database(empty_views(tmp_path / "rapport.duckdb"))) as connection:
        yield Ledger(Projector(connection))


@pytest.mark.parametrize("batch_events", [1, 2, 3, 10, 1_000])
def test_each_event_is_in_the_mirror_once_though_every_second_batch_fails(
    ledger: Ledger, batch_events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read ahead of a batch that failed is not applied before it. No want of memory ends it for good."""
    ledger.record(1, COUNT)
    apply, sizes = ledger.projector.apply, []
    faults = cycle((MemoryError, pa.ArrowMemoryError, duckdb.OutOfMemoryException))

    def fail_at_times(table: Any) -> int:
        sizes.append(table.num_rows)
        if len(sizes) % 2:
            raise next(faults)("no room")
        return apply(table)

    monkeypatch.setattr(ledger.projector, "apply", fail_at_times)
    keeping = ledger.projecting(batch_events)
    keeping.start()
    try:
        assert ledger.projector.wait_for(COUNT, 60)
        ledger.record(COUNT + 1, COUNT + 1)
        assert ledger.projector.wait_for(COUNT + 1, 60)
    finally:
        keeping.stop()
    assert ledger.mirrored() == expected(COUNT + 1)
    assert max(sizes) <= batch_events
    assert keeping.failure is None


def test_stopped_after_any_batch_it_goes_on_where_it_was(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that were read ahead and not applied are read again."""
    ledger.record(1, COUNT)
    stopped = []

    def and_stop(step: Callable[[Any], int]) -> Callable[[Any], int]:
        def run(table: Any) -> int:
            position = step(table)
            keeping._stopping.set()
            stopped.append(position)
            return position

        return run

    for name in ("apply", "fill"):
        monkeypatch.setattr(ledger.projector, name, and_stop(getattr(ledger.projector, name)))
    while ledger.projector.checkpoint < COUNT:
        keeping = ledger.projecting(7)
        keeping.start()
        keeping._thread.join()
        keeping.stop()
        assert keeping.failure is None
    assert len(stopped) > 1
    assert ledger.mirrored() == expected(COUNT)


def test_what_cannot_be_repaired_is_reported_behind_what_came_before_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that another master key wrapped: the views hold everything up to its page, and say why they stand still."""
    ledger.record(1, 9)
    existing = ledger.keyring.existing

    def refuse(names: Any) -> dict[str, bytes]:
        wanted = set(names)
        if f"candidate-{8:032x}" in wanted:
            raise RuntimeError("another master key")
        return existing(wanted)

    monkeypatch.setattr(ledger.keyring, "existing", refuse)
    keeping = ledger.projecting(1_000)
    keeping.start()
    keeping._thread.join()
    keeping.stop()
    assert ledger.mirrored() == expected(6)
    assert str(keeping.failure) == "another master key"
