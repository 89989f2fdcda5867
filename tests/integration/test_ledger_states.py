"""States of candidates on a real server: whatever they were made from, they are what the whole history makes."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from eventsourcing.persistence import IntegrityError
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from domain.candidate import Candidate, Erased, OptedOut, Replied, Tagged, evolve
from domain.errors import UnreadableCandidate
from domain.event import Event, utc_now
from domain.policy import ErasureGround
from infra import codec, snapshots
from infra.crypto.keyring import Keyring
from infra.crypto.master import LocalMasterKey
from infra.crypto.sealing import new_key
from infra.jetstream import Broken, Bucket, Connection, History, JetStreamApplicationRecorder, declare_stream
from infra.jetstream.batch import publish_one
from infra.jetstream.stream import Stream, get_message
from infra.jetstream.subjects import subject_of
from infra.ledger import Append, Ledger
from infra.nats_server import EmbeddedServer
from infra.snapshots import Snapshots
from tests.cluster import shared_cluster
from tests.servers import fresh_name, fresh_stream, shared_connection
from tests.unit.histories import CANDIDATES, EPOCH, Recorded, anything, examples, histories


class CountingRecorder(JetStreamApplicationRecorder):
    """The real recorder; it counts the whole histories that are read."""

    whole = 0

    def read_many(self, originator_ids: Sequence[Any]) -> list[History | Broken]:
        self.whole += len(originator_ids)
        return super().read_many(originator_ids)


@dataclass(frozen=True)
class Place:
    """A ledger and its keys; processes come and go."""

    connection: Connection
    stream: Stream
    keyring: Keyring

    def ledger(self, kept: Snapshots | None = None) -> Ledger:
        """A process that remembers nothing."""
        return Ledger(CountingRecorder(self.connection, self.stream), self.keyring, kept)

    @contextmanager
    def snapshots(self, quiet_s: float = 3_600.0) -> Iterator[Snapshots]:
        """Written on `flush` and at the end, unless `quiet_s` is short."""
        with closing(Snapshots(self.connection, self.stream, self.keyring, quiet_s=quiet_s)) as kept:
            yield kept

    def folded(self, *ids: str) -> dict[str, Candidate]:
        """The states that the whole histories make, read by somebody who remembers nothing."""
        made = {}
        for id_, history in zip(ids, self.ledger().histories(ids).values(), strict=True):
            step = lambda s, r: evolve(s, r.event, r.version, r.seq, r.recorded_at)  # noqa: E731
            made[id_] = reduce(step, history, Candidate(id_))
        return made


def place_on(connection: Connection, stream: Stream) -> Place:
    return Place(connection, stream, Keyring(Bucket(connection, fresh_name("KEYS")), LocalMasterKey(new_key())))


@pytest.fixture(scope="module")
def place() -> Place:
    return place_on(shared_connection(), fresh_stream())


@contextmanager
def what_is_logged() -> Iterator[list[Any]]:
    """A logger keeps the settings of its first use, which may have been another test's; so this is with a new one."""
    logger = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(0))
    with pytest.MonkeyPatch.context() as patch, capture_logs() as logs:
        patch.setattr(snapshots, "log", logger)
        yield logs


@pytest.fixture(autouse=True)
def _every_state_is_worth_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "LONG", 1)


def name_of(id_: str) -> str:
    return codec.aggregate_id("candidate", id_)


def whole_histories_read(ledger: Ledger) -> int:
    recorder = ledger._recorder
    assert isinstance(recorder, CountingRecorder)
    return recorder.whole


def put(ledger: Ledger, id_: str, *events: Event) -> None:
    """Appends behind what this process believes, again after each conflict; the second attempt fits."""
    for _ in range(2):
        base = ledger.candidates([id_])[id_].version
        (outcome,) = ledger.append([Append(name_of(id_), base, events)])
        if not isinstance(outcome, IntegrityError):
            return
    raise AssertionError("a conflict did not make the process look again")


def tagged(n: int, **fields: Any) -> Tagged:
    return Tagged(occurred_at=EPOCH + timedelta(seconds=n), actor="user:x", tag=f"t{n}", interaction=f"i{n}", **fields)


def erased() -> Erased:
    return Erased(occurred_at=EPOCH, actor="user:x", erasure=uuid4().hex, ground=ErasureGround.OBJECTION)


def tags(count: int) -> list[Tagged]:
    return [tagged(n) for n in range(count)]


def somebody_with(place: Place, kept: Snapshots, count: int) -> str:
    """A candidate with so many events, the last of them in a snapshot."""
    id_ = uuid4().hex
    put(place.ledger(kept), id_, *tags(count))
    assert kept.flush() == 1
    return id_


# ── the laws ───────────────────────────────────────────────────────────────────────────────────────


@examples(25)
@given(st.data())
def test_a_state_at_hand_and_moved_forward_is_what_a_whole_read_makes(place: Place, data: st.DataObject) -> None:
    """After any interleaving of appends by two processes, each with a memory of its own, fresh states are the ledger's,
    and remembered ones are a state that the ledger once made."""
    history: list[Recorded] = data.draw(histories(*anything, max_size=30))
    ids = {letter: uuid4().hex for letter in CANDIDATES}
    nodes = [place.ledger(), place.ledger()]
    for r in history:
        writer = nodes[data.draw(st.integers(0, 1))]
        put(writer, ids[r.id], r.event)
        if data.draw(st.integers(0, 3)) == 0:
            assert nodes[data.draw(st.integers(0, 1))].candidates([ids[r.id]], fresh=True) == place.folded(ids[r.id])
    for node in nodes:
        before = whole_histories_read(node)
        assert node.candidates(ids.values(), fresh=True) == place.folded(*ids.values())
        assert node.candidates(ids.values()) == place.folded(*ids.values())
        assert whole_histories_read(node) - before <= len(ids)


@examples(25)
@given(st.data())
def test_a_snapshot_and_the_events_behind_it_make_what_all_events_make(place: Place, data: st.DataObject) -> None:
    """And nothing but those events is read."""
    history: list[Recorded] = data.draw(histories(*anything, max_size=30))
    cut = data.draw(st.integers(0, len(history)))
    ids = {letter: uuid4().hex for letter in CANDIDATES}
    with place.snapshots() as kept:
        writer = place.ledger(kept)
        for r in history[:cut]:
            put(writer, ids[r.id], r.event)
        assert kept.flush() == len({r.id for r in history[:cut]})
    for r in history[cut:]:
        put(place.ledger(), ids[r.id], r.event)
    with place.snapshots() as kept:
        reader = place.ledger(kept)
        assert reader.candidates(ids.values()) == place.folded(*ids.values())
        assert whole_histories_read(reader) == len({r.id for r in history[cut:]} - {r.id for r in history[:cut]})


def test_processes_that_write_at_once_end_in_the_state_of_the_ledger(place: Place) -> None:
    """Each with a memory of its own, while their snapshots are written beside."""
    ids = [uuid4().hex for _ in range(3)]
    with place.snapshots(quiet_s=0.01) as one, place.snapshots(quiet_s=0.01) as other:
        nodes = [place.ledger(one), place.ledger(other)]

        def write(number: int) -> None:
            node, dice = nodes[number % 2], random.Random(number)
            for n in range(25):
                while True:
                    id_ = dice.choice(ids)
                    base = node.candidates([id_], fresh=dice.random() < 0.2)[id_].version
                    (outcome,) = node.append([Append(name_of(id_), base, [tagged(100 * number + n)])])
                    if not isinstance(outcome, IntegrityError):
                        break

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        expected = place.folded(*ids)
        assert sum(state.version for state in expected.values()) == 100
        for node in (*nodes, place.ledger(one), place.ledger(other)):
            assert node.candidates(ids, fresh=True) == expected
    with place.snapshots() as kept:
        reader = place.ledger(kept)
        assert reader.candidates(ids) == expected
        assert whole_histories_read(reader) == 0


# ── what is at hand ────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_state_has_what_others_wrote_without_reading_what_is_known(place: Place) -> None:
    id_ = uuid4().hex
    one, other = place.ledger(), place.ledger()
    put(one, id_, *tags(20))
    assert other.candidates([id_])[id_].version == 20
    put(one, id_, tagged(20), tagged(21))
    assert other.candidates([id_])[id_].version == 20, "remembered"
    assert other.candidates([id_], fresh=True) == place.folded(id_)
    assert whole_histories_read(other) == 1
    put(one, id_, tagged(22))
    other.forget([id_])
    assert other.candidates([id_]) == place.folded(id_)
    assert whole_histories_read(other) == 1


def test_what_is_said_against_contact_holds_from_the_ledgers_own_time(place: Place) -> None:
    """An opt-out dated ahead takes effect when the ledger took it, to the microsecond, also for who appended it."""
    id_ = uuid4().hex
    with place.snapshots() as kept:
        ledger = place.ledger(kept)
        put(ledger, id_, tagged(0), OptedOut(occurred_at=utc_now() + timedelta(hours=2), actor="candidate:self"))
        assert ledger.candidates([id_]) == place.folded(id_)
        put(ledger, id_, tagged(1))
    with place.snapshots() as kept:
        assert place.ledger(kept).candidates([id_]) == place.folded(id_)


def test_an_event_that_is_gone_is_noticed_behind_a_state_at_hand(place: Place) -> None:
    """The number of events in the ledger is compared with the version, so a hole is not covered by memory."""
    id_ = uuid4().hex
    with place.snapshots() as kept:
        ledger = place.ledger(kept)
        put(ledger, id_, *tags(5))
        kept.flush()
        history = ledger.histories([id_])[id_]
        place.connection.call(place.connection.api(f"STREAM.MSG.DELETE.{place.stream.name}", {"seq": history[2].seq}))
        for reader in (ledger, place.ledger(kept)):
            assert "behind version 2" in (reader.candidates([id_], fresh=True)[id_].unreadable or "")
            with pytest.raises(UnreadableCandidate, match="behind version 2"):
                reader.histories([id_])


def test_who_lacks_an_event_keeps_nobody_else_waiting_and_can_be_erased(place: Place) -> None:
    """A hole in one history is that person's alone; their last event still follows the one before."""
    broken, whole = uuid4().hex, uuid4().hex
    ledger = place.ledger()
    for id_ in (broken, whole):
        put(ledger, id_, *tags(4))
    seq = ledger.histories([broken])[broken][1].seq
    place.connection.call(place.connection.api(f"STREAM.MSG.DELETE.{place.stream.name}", {"seq": seq}))
    other = place.ledger()
    states = other.candidates([broken, whole])
    assert states[broken].unreadable is not None
    assert states[whole] == place.folded(whole)[whole]
    assert other.versions(broken) == 4
    (outcome,) = other.append([Append(name_of(broken), other.versions(broken), [erased()])])
    assert not isinstance(outcome, Exception)
    assert other.candidates([broken], fresh=True)[broken].erased
    assert other.histories([broken, whole]).keys() == {whole}


def test_what_is_no_event_behind_one_history_leaves_the_others_alone(place: Place) -> None:
    broken, whole = uuid4().hex, uuid4().hex
    ledger = place.ledger()
    for id_ in (broken, whole):
        put(ledger, id_, *tags(2))
    subject = subject_of(place.stream.prefix, name_of(broken))
    place.connection.call(place.connection.client.jetstream().publish(subject, b"junk"))
    for reader in (ledger, place.ledger()):
        states = reader.candidates([broken, whole], fresh=True)
        assert states[broken].unreadable is not None
        assert states[whole] == place.folded(whole)[whole]


@examples(15)
@given(st.data())
def test_a_history_at_hand_and_gone_on_with_is_what_a_whole_read_makes(place: Place, data: st.DataObject) -> None:
    """Whoever appends, between any two looks, alone or many together; and a history is read whole but once."""
    ids = [uuid4().hex for _ in range(3)]
    looking, writing = place.ledger(), place.ledger()
    for id_ in ids:
        put(writing, id_, tagged(0))
    looking.histories(ids)
    read = whole_histories_read(looking)
    steps = st.lists(st.tuples(st.sampled_from(ids), st.integers(0, 4), st.booleans()), max_size=6)
    for n, (id_, count, ours) in enumerate(data.draw(steps), start=1):
        if count:
            put(looking if ours else writing, id_, *(tagged(100 * n + m) for m in range(count)))
        read_for_writing = whole_histories_read(looking)
        asked = data.draw(st.lists(st.sampled_from(ids), min_size=1, unique=True))
        assert looking.histories(asked) == place.ledger().histories(asked)
        assert whole_histories_read(looking) == read_for_writing
    assert read == len(ids)


def test_a_history_is_read_from_where_its_events_lie_or_else_whole(place: Place) -> None:
    """Places that are outdated, somebody else's, of nothing or of too little change nothing of the answer."""
    id_, other = uuid4().hex, uuid4().hex
    writing = place.ledger()
    for n in range(3):
        put(writing, id_, tagged(n))
        put(writing, other, tagged(n))
    expected = place.ledger().histories([id_])
    seqs = [r.seq for r in expected[id_]]
    theirs = [r.seq for r in place.ledger().histories([other])[other]]
    for places, whole in (
        (seqs, 0),
        (seqs[:2], 0),  # what lies behind is looked for
        (seqs[1:], 1),
        ([*seqs, 10**9], 1),
        ([*seqs[:2], theirs[2]], 1),
        (theirs, 1),
        ([], 1),
    ):
        ledger = place.ledger()
        assert ledger.histories([id_], {id_: places}) == expected, places
        assert whole_histories_read(ledger) == whole, places


def test_of_an_erased_candidate_no_history_is_at_hand(place: Place) -> None:
    """Whether this process erased them or another."""
    for here in (True, False):
        id_ = uuid4().hex
        ledger, other = place.ledger(), place.ledger()
        put(ledger, id_, *tags(3))
        assert len(ledger.histories([id_])[id_]) == 3
        eraser = ledger if here else other
        eraser.append([Append(name_of(id_), 3, [erased()])])
        assert ledger.histories([id_]) == {}
        assert not ledger._histories.held([name_of(id_)])


def test_on_a_cluster_a_fresh_state_has_what_another_node_wrote_a_moment_ago() -> None:
    """Whichever server each of them is connected to: replicas may lag, and are not asked."""
    cluster = shared_cluster()
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(url, request_timeout_s=30.0)) for url in cluster.urls]
        stream = declare_stream(connections[0], fresh_name(), replicas=3)
        keyring = Keyring(Bucket(connections[0], fresh_name("KEYS"), replicas=3), LocalMasterKey(new_key()))
        places = [Place(connection, stream, keyring) for connection in connections]
        kept = [stack.enter_context(place.snapshots()) for place in places]
        nodes = [place.ledger(snapshots) for place, snapshots in zip(places, kept, strict=True)]
        id_ = uuid4().hex
        for n in range(30):
            put(nodes[n % 3], id_, tagged(n))
            assert [node.candidates([id_], fresh=True)[id_].version for node in nodes] == [n + 1] * 3
        assert kept[0].flush() == 1
        put(nodes[1], id_, tagged(30))
        assert places[2].ledger(kept[2]).candidates([id_]) == places[0].folded(id_)


# ── what is kept ───────────────────────────────────────────────────────────────────────────────────


def test_a_snapshot_is_written_once_a_candidate_rests(place: Place) -> None:
    """By a thread, without being asked; what a process had not written when it stopped is written then."""
    resting, changed = uuid4().hex, uuid4().hex
    with place.snapshots(quiet_s=0.01) as kept:
        put(place.ledger(kept), resting, *tags(3))
        deadline = time.monotonic() + 20
        while place.connection.call(kept.fetch(name_of(resting))) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with place.snapshots() as kept:
        put(place.ledger(kept), changed, *tags(3))
        assert place.connection.call(kept.fetch(name_of(changed))) is None
    with place.snapshots() as kept:
        reader = place.ledger(kept)
        assert reader.candidates([resting, changed]) == place.folded(resting, changed)
        assert whole_histories_read(reader) == 0


def test_short_histories_in_one_place_are_left_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is worth its write for a long history, or for one that goes on far behind where it stood."""
    monkeypatch.setattr(snapshots, "LONG", 4)
    with place.snapshots() as kept:
        ledger = place.ledger(kept)
        short, long, scattered = (uuid4().hex for _ in range(3))
        for id_, count in ((short, 3), (long, 4), (scattered, 2)):
            put(ledger, id_, *tags(count))
        assert kept.flush() == 1
        monkeypatch.setattr(snapshots, "SCATTERED", 3)
        put(place.ledger(), uuid4().hex, *tags(3))
        put(ledger, scattered, tagged(3))
        assert kept.flush() == 1


def test_a_history_that_had_to_be_read_is_kept(place: Place) -> None:
    """So that who was left out is so only once."""
    id_ = uuid4().hex
    put(place.ledger(), id_, *tags(4))
    with place.snapshots() as kept:
        for read in (1, 0):
            reader = place.ledger(kept)
            assert reader.candidates([id_]) == place.folded(id_)
            assert whole_histories_read(reader) == read
            assert kept.flush() == read


def test_a_snapshot_by_another_definition_of_a_state_is_not_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.snapshots() as kept:
        with monkeypatch.context() as older:
            older.setattr(snapshots, "definition", lambda: "another")
            id_ = somebody_with(place, kept, 3)
        reader = place.ledger(kept)
        with what_is_logged() as logs:
            assert reader.candidates([id_]) == place.folded(id_)
        assert not logs, "nothing is wrong with it"
        assert whole_histories_read(reader) == 1


@pytest.mark.parametrize("change", ["a bit", "the version", "the owner"])
def test_a_snapshot_that_was_touched_is_ignored_and_reported(place: Place, change: str) -> None:
    """It is sealed with the candidate's key and bound to candidate, version and position."""
    with place.snapshots() as kept:
        id_ = somebody_with(place, kept, 3)
        subject = subject_of(kept.stream.prefix, name_of(id_))
        whole = place.connection.call(get_message(place.connection, kept.stream, last_by_subj=subject))
        assert whole is not None
        match change:
            case "a bit":
                body = whole.body[:-1] + bytes([whole.body[-1] ^ 1])
            case "the version":
                body = whole.body.replace(b'"version":3', b'"version":2')
            case _:
                body, id_ = whole.body, uuid4().hex
                put(place.ledger(), id_, *tags(3))
                subject = subject_of(kept.stream.prefix, name_of(id_))
        place.connection.call(publish_one(place.connection, subject, body, None, timeout_s=5.0))
        reader = place.ledger(kept)
        with what_is_logged() as logs:
            assert reader.candidates([id_]) == place.folded(id_)
        assert [line["event"] for line in logs] == ["snapshot ignored"]
        assert whole_histories_read(reader) == 1


def test_a_candidate_that_cannot_be_read_has_no_snapshot(place: Place) -> None:
    """An event that nobody can open may be anything; a state without it must not outlive this process."""
    id_ = uuid4().hex
    foreign = codec.encode(name_of(id_), 2, tagged(2), new_key())
    with place.snapshots() as kept:
        put(place.ledger(), id_, tagged(1))
        JetStreamApplicationRecorder(place.connection, place.stream).insert_events([foreign])
        state = place.ledger(kept).candidates([id_])[id_]
        assert state.unreadable is not None
        assert kept.flush() == 0
        kept.offer(state, -1)
        assert kept.flush() == 0


def test_an_event_that_cannot_be_read_is_seen_behind_a_snapshot(place: Place) -> None:
    with place.snapshots() as kept:
        id_ = somebody_with(place, kept, 2)
        foreign = codec.encode(name_of(id_), 3, tagged(2), new_key())
        JetStreamApplicationRecorder(place.connection, place.stream).insert_events([foreign])
        assert place.ledger(kept).candidates([id_])[id_].unreadable is not None


def test_nothing_depends_on_snapshots(place: Place) -> None:
    """With their stream gone, candidates are written and read as before, and a process stops as before."""
    own = place_on(place.connection, fresh_stream())
    with own.snapshots(quiet_s=0.01) as kept:
        own.connection.call(own.connection.api(f"STREAM.DELETE.{kept.stream.name}"))
        id_ = uuid4().hex
        put(own.ledger(kept), id_, *tags(3))
        assert own.ledger(kept).candidates([id_]) == own.folded(id_)


# ── what must not stay ─────────────────────────────────────────────────────────────────────────────


def test_erasing_leaves_no_byte_of_a_snapshot_in_the_block_files(own_server: EmbeddedServer) -> None:
    """Nor does a state that waited to be written come after it."""
    with Connection(own_server.url) as connection:
        place = place_on(connection, declare_stream(connection))
        with place.snapshots() as kept:
            id_ = somebody_with(place, kept, 40)
            other = somebody_with(place, kept, 3)
            subject = subject_of(kept.stream.prefix, name_of(id_))
            stored = connection.call(get_message(connection, kept.stream, last_by_subj=subject))
            assert stored is not None
            marks = [stored.body[at : at + 16] for at in range(80, len(stored.body) - 16, 16)]
            assert all(mark in blocks_of(own_server, kept.stream) for mark in marks)
            put(place.ledger(kept), id_, tagged(41))
            assert kept.erase(id_) == 1
            kept.flush()
            left = blocks_of(own_server, kept.stream)
            assert not any(mark in left for mark in marks)
            assert connection.call(kept.fetch(name_of(id_))) is None
            assert connection.call(kept.fetch(name_of(other))) is not None


def blocks_of(server: EmbeddedServer, stream: Stream) -> bytes:
    return b"".join(path.read_bytes() for path in folder_of(server, stream).rglob("*.blk"))


def folder_of(server: EmbeddedServer, stream: Stream) -> Path:
    return server.store_dir / "RAPPORT" / "streams" / stream.name


def test_snapshots_of_a_ledger_that_was_swapped_for_an_older_copy_are_not_used(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """Even where the versions that were lost were given out again, so that their number tells nothing; neither by who
    comes later nor by who was there all the time. The snapshots of the lost history go when the next one is made."""
    with Connection(own_server.url, request_timeout_s=30.0) as connection:
        place = place_on(connection, declare_stream(connection))
        id_, other, unseen, waiting = (uuid4().hex for _ in range(4))
        for one in (id_, other, unseen, waiting):
            put(place.ledger(), one, *tags(3))
        own_server.stop()
        shutil.copytree(folder_of(own_server, place.stream), tmp_path / "older")
        port = own_server.port
        restart(own_server, port, connection)
        with place.snapshots() as kept:
            witness = place.ledger(kept)
            put(witness, id_, tagged(3), tagged(4))
            put(witness, other, tagged(5))
            put(witness, unseen, tagged(7))
            assert kept.flush() == 3
            put(witness, waiting, tagged(6))
            own_server.stop()
            shutil.rmtree(folder_of(own_server, place.stream))
            shutil.copytree(tmp_path / "older", folder_of(own_server, place.stream))
            restart(own_server, port, connection)
            opted_out = OptedOut(occurred_at=EPOCH, actor="candidate:self")
            put(place.ledger(), id_, opted_out, Replied(occurred_at=EPOCH, actor="user:x"))
            put(place.ledger(), other, opted_out)
            put(place.ledger(), unseen, opted_out)
            later = place.ledger(kept)
            for ledger in (witness, later):
                assert ledger.candidates([id_, other], fresh=True) == place.folded(id_, other)
            assert place.folded(id_)[id_].statements
            put(place.ledger(), uuid4().hex, *tags(9))
            put(witness, other, tagged(8))
            assert kept.flush() == 2
            assert place.ledger(kept).candidates([id_, other, unseen]) == place.folded(id_, other, unseen)


def restart(server: EmbeddedServer, port: int, connection: Connection) -> None:
    """On the port it had, so that the connection finds it again."""
    server._requested_port = port
    server.start()
    connection.call(connection.wait_connected(20.0))
