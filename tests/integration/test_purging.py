"""Bodies of erased records removed from a real ledger: what is left of each proves, and is the same in every mirror."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from consumers import projecting
from consumers.explaining import Purged
from consumers.loss import contradiction
from consumers.projecting import Projecting
from consumers.restoring import put_back, survey
from consumers.verification import Finding, Kind, Summary, verify
from domain import candidate as c
from infra import codec, purging
from infra.crypto.keyring import Keyring
from infra.crypto.master import LocalMasterKey
from infra.crypto.sealing import new_key
from infra.duckdb import open_database
from infra.jetstream import Bucket, Connection, JetStreamApplicationRecorder, LedgerReader, declare_stream
from infra.jetstream.stream import erase_messages
from infra.purging import Naming, Purging
from projections import Projector, mirrored, tree
from tests.cluster import shared_cluster
from tests.e2e.harness import until
from tests.servers import fresh_name, fresh_stream, shared_connection
from tests.unit.histories import EPOCH
from tests.views import empty_views

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
ADA, GRACE, LIN = (digit * 32 for digit in "abc")
EACH = 7
"""Events of each of the three."""


class Ledger:
    """A ledger of three people whose events lie between each other's, with their keys."""

    def __init__(self, recorder: JetStreamApplicationRecorder) -> None:
        self.recorder = recorder
        self.connection, self.stream = recorder.connection, recorder.stream
        self.bucket = Bucket(self.connection, fresh_name("keys"), replicas=self.stream.replicas)
        self.keyring = Keyring(self.bucket, LocalMasterKey(new_key()))
        self.versions: dict[str, int] = {}
        for number in range(EACH):
            for id_ in (ADA, GRACE, LIN):
                self.append(id_, c.Tagged(occurred_at=EPOCH, actor="user:x", tag=f"Xq7zVk{number}", source="ats"))

    @property
    def last_seq(self) -> int:
        return self.recorder.max_notification_id() or 0

    def append(self, id_: str, event: c.CandidateEvent) -> int:
        name = codec.aggregate_id(c.KIND, id_)
        key = new_key() if isinstance(event, c.Erased) else self.keyring.make([name])[name]
        version = self.versions[id_] = self.versions.get(id_, 0) + 1
        (seq,) = self.recorder.insert_events([codec.encode(name, version, event, key)]) or ()
        return seq

    def erased(self, id_: str, **naming: Any) -> int:
        """Appends the event; its seq."""
        return self.append(
            id_, c.Erased(occurred_at=EPOCH, actor="user:dpo", erasure="e" * 32, ground="objection", **naming)
        )

    def erase(self, id_: str) -> None:
        """As far as it matters here: the last event, and the key destroyed."""
        self.erased(id_)
        self.bucket.delete(codec.aggregate_id(c.KIND, id_))

    def purge(self, id_: str, deletions: int = 1_000) -> purging.Gone | None:
        """Ends after so many deletions."""
        left = iter(range(deletions))

        def append(base: int, naming: Naming) -> int:
            self.versions[id_] = base
            return self.erased(id_, **naming._asdict())

        return Purging(self.connection, self.stream).purge(id_, append, lambda: next(left, None) is not None)

    def seqs_of(self, id_: str) -> list[int]:
        return [3 * number + "abc".index(id_[0]) + 1 for number in range(EACH)]

    def there(self) -> list[int]:
        return [m.seq for batch in LedgerReader(self.connection, self.stream).read_batches() for m in batch]


class Mirror:
    """A file that follows a ledger when it is told to."""

    def __init__(self, ledger: Ledger, path: Path) -> None:
        self.ledger = ledger
        self.database = open_database(path if path.exists() else empty_views(path))
        self.projector = Projector(self.database)
        self.keyring = Keyring(ledger.bucket, ledger.keyring._master)  # as of another node

    def follow(self, until: int | None = None, batch_events: int = 5) -> None:
        ledger = self.ledger
        reader = LedgerReader(ledger.connection, ledger.stream, Purged(ledger.connection, ledger.stream).between)
        keeping = Projecting(reader, self.projector, self.keyring, batch_events)
        keeping.start()
        try:
            assert self.projector.wait_for(until or ledger.last_seq, 60), keeping.failure
            assert keeping.failure is None
        finally:
            keeping.stop()

    def rows(self) -> list[Any]:
        return self.database.execute("select * from pii.events order by seq").fetchall()

    def root(self) -> bytes | None:
        return tree.root_of_mirror(self.database, tree.mirrored(self.database))

    def findings(self) -> tuple[list[tuple[Kind, int]], Summary]:
        *items, summary = verify(self.ledger.connection, self.ledger.stream, self.database)
        assert isinstance(summary, Summary)
        return [(item.kind, item.seq) for item in items if isinstance(item, Finding)], summary

    def contradiction(self) -> str | None:
        return contradiction(self.ledger.connection, self.ledger.stream, self.database)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projecting, "PAGE_EVENTS", 4)
    monkeypatch.setattr(purging, "AT_ONCE", 3)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(JetStreamApplicationRecorder(shared_connection(), fresh_stream()))


@pytest.fixture
def mirrors(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def mirror(ledger: Ledger) -> Mirror:
            made = Mirror(ledger, tmp_path / f"{fresh_name('m')}.duckdb")
            stack.enter_context(closing(made.database))
            return made

        yield mirror


def test_mirrors_that_held_the_rows_were_half_way_or_are_filled_anew_are_equal(ledger: Ledger, mirrors: Any) -> None:
    """Rows and root; the root is that of the bytes as they were. Nobody takes a purged place for a loss."""
    held, between, stopped, anew = (mirrors(ledger) for _ in range(4))
    held.follow()
    stopped.follow()
    leaves = [row[0] for row in held.database.execute("select hash from pii.events order by seq").fetchall()]
    between.follow(until=8, batch_events=4)
    for id_ in (ADA, LIN):
        ledger.erase(id_)
        gone = ledger.purge(id_)
        assert gone is not None and gone.bodies == EACH
    assert set(ledger.there()).isdisjoint(ledger.seqs_of(ADA) + ledger.seqs_of(LIN))
    assert [m.contradiction() for m in (between, stopped, anew)] == [None] * 3
    assert [m.findings()[0] for m in (between, stopped, anew)] == [[]] * 3
    for mirror in (held, between, stopped, anew):
        mirror.follow()
    assert held.rows() == between.rows() == stopped.rows() == anew.rows()
    assert held.root() == anew.root()
    assert [row[0] for row in anew.database.execute("select hash from pii.events order by seq").fetchall()][
        : len(leaves)
    ] == leaves
    for mirror in (held, between, stopped, anew):
        findings, summary = mirror.findings()
        assert (findings, summary.purged, summary.events) == ([], 2 * EACH, ledger.last_seq)
        assert mirror.contradiction() is None
    left = anew.database.execute("from pii.events where seq in (1, 4) order by seq").fetchall()
    assert [sum(value is not None for value in row) for row in left] == [7, 7], "seq, recorded_at, kind, id, version…"


@pytest.mark.parametrize("until", [0, 8])
def test_purged_places_before_a_mirror_that_is_behind_are_no_gaps(ledger: Ledger, mirrors: Any, until: int) -> None:
    """Told from a real one between them, which alone is offered to be accepted; versions are followed across them."""
    mirror = mirrors(ledger)
    if until:
        mirror.follow(until=until, batch_events=4)
    lost, behind = (ledger.append(GRACE, c.Tagged(occurred_at=EPOCH, actor="user:x", tag=tag)) for tag in "pq")
    ledger.erase(ADA)
    ledger.purge(ADA)
    ledger.connection.call(erase_messages(ledger.connection, ledger.stream, [lost]))
    findings, summary = mirror.findings()
    assert findings == [(Kind.GAP, lost), (Kind.BROKEN, behind)]
    assert (summary.purged, summary.events) == (EACH, ledger.last_seq - 1)
    assert survey(ledger.connection, ledger.stream, mirror.database, lambda _: None).gaps == [(lost, lost)]


def test_a_place_that_was_accepted_as_lost_gives_way_to_its_purge(ledger: Ledger, mirrors: Any) -> None:
    """It is counted once, when the mirror has seen the event that names it; what nobody names stays accepted."""
    mirror = mirrors(ledger)
    ledger.erase(ADA)
    ledger.purge(ADA)
    ledger.connection.call(erase_messages(ledger.connection, ledger.stream, [5, 6]))
    for first, last in ((1, 1), (4, 7)):
        mirrored.note_gap(mirror.database, first, last, "lost, and accepted as lost")
    mirror.follow()
    assert mirrored.known_gaps(mirror.database) == [(5, 6)]
    assert mirror.contradiction() is None
    assert [kind for kind, _ in mirror.findings()[0]] == [Kind.BROKEN, Kind.BROKEN], "what followed the two"


def test_stopped_after_any_deletion_it_is_gone_on_with(ledger: Ledger, mirrors: Any) -> None:
    """What is left of the record can be read meanwhile; nothing is named twice; `verify` says what is still to go."""
    mirror = mirrors(ledger)
    ledger.erase(ADA)
    assert ledger.purge(ADA, deletions=2) is None
    named = ledger.last_seq
    mirror.follow()
    findings, summary = mirror.findings()
    assert findings == [(Kind.REMAINS, seq) for seq in ledger.seqs_of(ADA)[2:]]
    assert (summary.purged, summary.is_clean, mirror.contradiction()) == (2, False, None)
    versions = [event.originator_version for event in ledger.recorder.select_events(codec.aggregate_id(c.KIND, ADA))]
    assert versions == list(range(3, ledger.versions[ADA] + 1))
    assert ledger.purge(ADA, deletions=1) is None
    assert ledger.purge(ADA) == purging.Gone(EACH, named)
    assert ledger.purge(ADA) == purging.Gone(EACH, named), "it may be asked for again"
    assert ledger.last_seq == named
    assert mirror.findings()[0] == []
    notified = [n.id for n in ledger.recorder.select_notifications(1, 100)]
    assert notified == ledger.there() == [seq for seq in range(1, named + 1) if seq not in ledger.seqs_of(ADA)]


@pytest.mark.parametrize("forged", ["nobody names it", "another hash", "another's event"])
def test_a_hole_that_is_not_named_rightly_is_a_loss(ledger: Ledger, mirrors: Any, forged: str) -> None:
    mirror = mirrors(ledger)
    mirror.follow()
    body = mirror.database.execute("select body from pii.events where seq = 4").fetchall()[0][0]
    name = {
        "nobody names it": ("", GRACE),
        "another hash": (sha256(b"other").hexdigest(), ADA),
        "another's event": (sha256(body).hexdigest(), GRACE),
    }[forged]
    ledger.erase(name[1])
    if name[0]:
        ledger.erased(name[1], bodies=((4, f"sha256:{name[0]}"),), envelopes=((2, "tagged", EPOCH),))
    ledger.connection.call(erase_messages(ledger.connection, ledger.stream, [4]))
    assert "1 of its events (4)" in (mirror.contradiction() or "")
    mirror.follow()
    assert "1 of its events (4)" in (mirror.contradiction() or "")
    assert mirror.findings()[0] == [(Kind.MISSING, 4)]


def test_a_mirror_whose_row_lost_its_body_is_not_taken_for_purged(ledger: Ledger, mirrors: Any) -> None:
    mirror = mirrors(ledger)
    ledger.erase(ADA)
    ledger.purge(ADA)
    mirror.follow()
    mirror.database.execute("update pii.events set body = null where seq = 2")
    findings, summary = mirror.findings()
    assert (findings, summary.purged) == ([(Kind.MIRROR, 2)], EACH)


def test_a_restore_puts_back_everything_but_what_was_purged(ledger: Ledger, mirrors: Any) -> None:
    """Killed in between, too: no body is there again, every other event is at its place, and nothing is amiss."""
    mirror = mirrors(ledger)
    ledger.erase(ADA)
    ledger.purge(ADA)
    mirror.follow()
    there, last = ledger.there(), ledger.last_seq
    ledger.stream = anew = fresh_stream()

    class Killed(Exception):
        pass

    def kill(reached: int) -> None:
        if reached == last - 1:
            raise Killed

    found = survey(ledger.connection, anew, mirror.database, lambda _: None)
    assert (found.lost, found.refusal) == ((1, last), None)
    with pytest.raises(Killed):
        put_back(ledger.connection, anew, mirror.database, (1, last), kill)
    found = survey(ledger.connection, anew, mirror.database, lambda _: None)
    assert (found.lost, found.refusal) == ((last, last), None)
    put_back(ledger.connection, anew, mirror.database, (last, last), lambda _: None)
    assert ledger.there() == there
    findings, summary = mirror.findings()
    assert (findings, summary.purged) == ([], EACH)
    assert mirror.contradiction() is None


def test_an_erasure_that_is_decoded_with_a_key_just_destroyed_is_no_broken_event(ledger: Ledger, mirrors: Any) -> None:
    """The key was at hand when the first of its events came, and what follows is sealed with none that exists."""
    mirror = mirrors(ledger)
    mirror.keyring.existing([codec.aggregate_id(c.KIND, ADA)])
    ledger.erase(ADA)
    ledger.purge(ADA)
    mirror.follow(batch_events=100)
    assert mirror.database.execute("from ops.dead_letters").fetchall() == []
    assert mirror.database.execute("select seq from ops.erased").fetchall() == [(3 * EACH + 1,)]
    assert mirror.findings()[0] == []


def test_what_no_event_names_stops_a_mirror_filled_anew(ledger: Ledger, mirrors: Any) -> None:
    mirror = mirrors(ledger)
    ledger.connection.call(erase_messages(ledger.connection, ledger.stream, [4]))
    reader = LedgerReader(ledger.connection, ledger.stream, Purged(ledger.connection, ledger.stream).between)
    keeping = Projecting(reader, mirror.projector, mirror.keyring, 5)
    keeping.start()
    try:
        until(lambda: isinstance(keeping.failure, projecting.HistoryHole))
        assert mirror.projector.checkpoint < 4
    finally:
        keeping.stop()


@pytest.mark.skipif(not SOAK, reason="starts three servers: make soak")
def test_on_three_replicas_every_copy_is_without_the_bodies(tmp_path: Path) -> None:
    cluster = shared_cluster()
    with Connection(",".join(cluster.urls)) as connection:
        stream = declare_stream(connection, fresh_name(), replicas=3)
        ledger = Ledger(JetStreamApplicationRecorder(connection, stream))
        ledger.erase(ADA)
        ledger.purge(ADA)
        mirror = Mirror(ledger, tmp_path / "views.duckdb")
        with closing(mirror.database):
            mirror.follow()
            assert mirror.findings()[0] == []
            cluster.wait_healthy()
            copies = [cluster.holds(index, stream.name) for index in range(3)]
            assert copies[0] == copies[1] == copies[2]
