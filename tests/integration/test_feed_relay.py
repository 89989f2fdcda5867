"""The feed on a real nats-server: every event once and in order, whatever dies in between, and whoever else writes."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from eventsourcing.persistence import OperationalError

from consumers import relay as relaying
from consumers.relay import Relay, signed
from domain import candidate as c
from domain.checkpoint import Checkpoint
from domain.event import utc_now
from domain.published import Message
from infra import codec
from infra import feed as feeding
from infra.crypto.sealing import new_key
from infra.feed import Draft, End, Feed, Overtaken, Place
from infra.jetstream import Connection, JetStreamApplicationRecorder, LedgerReader, Stream, declare_stream
from infra.jetstream.stream import erase_messages, get_message
from infra.nats_server import EmbeddedServer
from tests.cluster import await_until, shared_cluster
from tests.proxy import Proxy, is_ack, once
from tests.servers import fresh_name, fresh_stream
from tests.unit.histories import EPOCH

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
URL = "https://crm.example.com"
KEY = new_key()

RELAYS = """
import sys
from infra.feed import Feed
from infra.jetstream import Connection, LedgerReader, Stream
from consumers.relay import Relay
url, name, prefix = sys.argv[1:]
stream = Stream(name, prefix)
connection = Connection(url)
Relay(LedgerReader(connection, stream), Feed(connection, stream, "https://crm.example.com"), 0).start()
print("relays", flush=True)
"""


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RETRY_AFTER_S": 0.02, "STAND_BY_S": 0.05, "IDLE_S": 0.02}.items():
        monkeypatch.setattr(relaying, name, value)


def fill(connection: Connection, stream: Stream, first: int, count: int) -> None:
    """`count` records of three events, one of which has an effect; each third a pool's event between them."""
    recorder = JetStreamApplicationRecorder(connection, stream)
    groups = []
    for number in range(first, first + count):
        name = codec.aggregate_id(c.KIND, f"{number:032x}")
        envelope: dict[str, Any] = {"occurred_at": EPOCH, "actor": "user:x", "source": "ats"}
        told = [c.Sourced(**envelope), c.OptedOut(**envelope, channel="email"), c.Tagged(**envelope, tag="python")]
        groups.append([codec.encode(name, version, event, KEY) for version, event in enumerate(told, 1)])
    recorder.insert_many(groups)


def expected(connection: Connection, stream: Stream) -> list[str]:
    """The ids that the feed has to have, by the ledger."""
    ids = []
    for batch in LedgerReader(connection, stream).read_batches():
        for message in batch:
            ids.append(str(message.seq))
            if orjson.loads(message.body)["type"] == "opted_out":
                ids.append(f"{message.seq}/opted_out")
    return ids


def on_feed(connection: Connection, feed: Feed) -> list[str]:
    """The ids that it has, in its order; of which no position is missing."""
    ids, seq = [], 0
    for batch in LedgerReader(connection, feed.stream).read_batches():
        for message in batch:
            assert message.seq == seq + 1
            seq = message.seq
            ids.append(orjson.loads(message.body)["id"])
    return ids


@contextmanager
def relaying_over(connection: Connection, stream: Stream, days: int = 0) -> Iterator[Relay]:
    relay = Relay(LedgerReader(connection, stream), Feed(connection, stream, URL), days)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


def until(holds: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


def is_whole(relay: Relay, stream: Stream, connection: Connection) -> Callable[[], bool]:
    last = LedgerReader(connection, stream).last_seq()
    return lambda: relay.position >= last


def test_what_was_there_before_and_what_comes_is_relayed_in_order(connection: Connection, stream: Stream) -> None:
    fill(connection, stream, 1, 700)
    with relaying_over(connection, stream) as relay:
        until(is_whole(relay, stream, connection))
        for number in range(1_000, 1_010):
            fill(connection, stream, number, 1)
        until(is_whole(relay, stream, connection))
        feed = Feed(connection, stream, URL)
        assert on_feed(connection, feed) == expected(connection, stream)
        assert feed.end() == relay.end
        assert feed.end().place == Place(ledger=2_130)


def test_relays_killed_at_any_moment_lose_and_double_nothing(
    nats_server: EmbeddedServer, connection: Connection, stream: Stream
) -> None:
    """kill -9 of a process that relays, again and again, each time when the feed has grown by a random number."""
    feed, chance = Feed(connection, stream, URL), random.Random(3)
    rounds = 20 if SOAK else 3
    fill(connection, stream, 1, rounds * 500)
    for _ in range(rounds):
        enough = feed.end().seq + chance.randrange(1, 1_500)
        command = [sys.executable, "-c", RELAYS, nats_server.url, stream.name, stream.prefix]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
            until(lambda n=enough: feed.end().seq >= n)
            process.kill()
    seen = on_feed(connection, feed)
    assert seen == expected(connection, stream)[: len(seen)]
    assert len(seen) < rounds * 2_000, "every one had finished before it was killed"
    with relaying_over(connection, stream) as relay:
        until(is_whole(relay, stream, connection))
    assert on_feed(connection, feed) == expected(connection, stream)


def test_of_two_relays_one_publishes_and_the_other_takes_over(nats_server: EmbeddedServer, stream: Stream) -> None:
    with (
        Connection(nats_server.url) as here,
        Connection(nats_server.url) as there,
        relaying_over(there, stream) as second,
    ):
        with relaying_over(here, stream) as first:
            for number in range(0, 60, 2):
                fill(here, stream, 1 + number, 2)
            until(is_whole(first, stream, here))
            until(is_whole(second, stream, there))
        fill(there, stream, 500, 100)
        until(is_whole(second, stream, there))
        assert on_feed(here, Feed(here, stream, URL)) == expected(here, stream)
        assert (first.failure, second.failure) == (None, None)


@pytest.mark.parametrize("count", [1, 50])
def test_a_lost_answer_neither_doubles_nor_loses(
    nats_server: EmbeddedServer, connection: Connection, stream: Stream, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a single message and of a batch: stored, and the relay does not hear of it, or its connection breaks."""
    monkeypatch.setattr(feeding, "CONFIRMED_WITHIN_S", 0.3)
    proxy = Proxy(nats_server.port)
    url = nats_server.url.replace(str(nats_server.port), str(proxy.port))
    try:
        with Connection(url) as behind, relaying_over(behind, stream) as relay:
            until(lambda: relay.is_active)
            proxy.swallow = once(is_ack)
            fill(connection, stream, 1, count)
            until(is_whole(relay, stream, connection))
            proxy.last_answer = once(is_ack)
            fill(connection, stream, 1_000, count)
            until(is_whole(relay, stream, connection))
            assert on_feed(connection, Feed(connection, stream, URL)) == expected(connection, stream)
    finally:
        proxy.close()


def test_one_who_is_behind_is_refused_and_nothing_of_a_batch_is_stored(connection: Connection, stream: Stream) -> None:
    feed = Feed(connection, stream, URL)
    messages = [Message("pool.joined", None, "a", "2026-01-01T00:00:00Z", {"n": n}) for n in range(3)]
    drafts = [Draft(message, Place(ledger=n)) for n, message in enumerate(messages)]
    start = feed.end()
    end = feed.append(drafts, start)
    assert end.seq == 3
    for late in (drafts, drafts[:1]):
        with pytest.raises(Overtaken):
            feed.append([d._replace(message=Message("pool.left", "x", "a", "t", {})) for d in late], start)
    assert feed.end() == end
    assert on_feed(connection, feed) == ["feed/1", "feed/2", "feed/3"]


def test_what_is_erased_or_broken_in_the_ledger_does_not_stop_the_feed(connection: Connection, stream: Stream) -> None:
    fill(connection, stream, 1, 3)
    connection.call(erase_messages(connection, stream, [4, 5]))
    connection.call(connection.request(f"{stream.prefix}.candidate.ff.{'f' * 32}", b"not an event"))
    connection.call(connection.request(f"{stream.prefix}.pool.ff.{'f' * 32}", b"not published"))
    with relaying_over(connection, stream) as relay:
        until(is_whole(relay, stream, connection))
        feed = Feed(connection, stream, URL)
        ids = ["1", "2", "2/opted_out", "3", "6", "7", "8", "8/opted_out", "9", "10"]
        assert on_feed(connection, feed) == ids
        last = connection.call(get_message(connection, feed.stream, seq=len(ids)))
        assert last is not None
        assert last.subject == f"{feed.stream.prefix}.candidate.unreadable"


def test_others_have_their_turn_between_two_events(connection: Connection, stream: Stream) -> None:
    fill(connection, stream, 1, 2)
    told = Message("pool.joined", None, "a", "2026-01-01T00:00:00Z", {})
    with relaying_over(connection, stream) as relay:
        until(is_whole(relay, stream, connection))
        end = relay.say(
            lambda end, at: [Draft(told, end.place._replace(ledger=at, derived=end.seq + 1, views=6, at_us=7))]
        ).result(10)
        assert (end.seq, end.place.derived, end.place.ledger) == (9, 9, 6)
        with pytest.raises(Overtaken):
            relay.say(lambda _end, _at: None).result(10)
        relay.settle(9, 6, 7)
        until(lambda: relay.end.place.settled == 9)
        fill(connection, stream, 5, 1)
        until(is_whole(relay, stream, connection))
        feed = Feed(connection, stream, URL)
        assert feed.end().place == Place(9, 9, 6, 7, 9, 6, 7)
        assert [m.seq for m in feed.derived(0, 100)] == [9]
    with pytest.raises(Overtaken):
        relay.say(lambda _end, _at: []).result(10)


def test_a_checkpoint_is_told_once_however_often_it_is_offered(connection: Connection, stream: Stream) -> None:
    note = signed("origin\n1\nroot\n\n— origin signature\n", Checkpoint("origin", 1, b"\0" * 32))
    feed = Feed(connection, stream, URL)
    for _ in range(2):
        with relaying_over(connection, stream) as relay:
            relay.note(note)
            relay.note(note)
            until(lambda r=relay: r.is_active and not r._notes)
    assert on_feed(connection, feed) == [note.id]


def test_checkpoints_of_two_nodes_with_restarts_grow_and_repeat_nothing(connection: Connection, stream: Stream) -> None:
    """Each signs its own of the same log, offers its last one again when it starts, and may be behind the other."""

    def signed_by(node: str, size: int) -> Message:
        return signed(f"origin\n{size}\nroot\n\n— {node} signature\n", Checkpoint("origin", size, b"\0" * 32))

    feed = Feed(connection, stream, URL)
    for node, sizes in (("a", (1, 3)), ("b", (2, 3, 5)), ("a", (3, 4, 5)), ("b", (5, 6))):
        with relaying_over(connection, stream) as relay:
            for size in sizes:
                relay.note(signed_by(node, size))
            until(lambda r=relay: r.is_active and not r._notes)
    assert on_feed(connection, feed) == [signed_by(*told).id for told in (("a", 1), ("a", 3), ("b", 5), ("b", 6))]


def test_what_is_old_goes_and_the_place_stays(connection: Connection, stream: Stream) -> None:
    """However old: the last message is never removed, for it says where to go on."""
    fill(connection, stream, 1, 5)
    feed = Feed(connection, stream, URL)
    with relaying_over(connection, stream) as relay:
        until(is_whole(relay, stream, connection))
    end = feed.end()
    assert feed.retain(utc_now() - timedelta(days=1)) == 0
    assert feed.retain(utc_now() + timedelta(days=1)) == end.seq - 1
    assert feed.end() == end
    assert feed.extent().first_seq == end.seq
    fill(connection, stream, 9, 1)
    with relaying_over(connection, stream, days=1) as relay:
        until(is_whole(relay, stream, connection))
    assert feed.end().seq == end.seq + 4


@pytest.mark.parametrize(("days", "shortened"), [(0, False), (3, False), (1, True)])
def test_a_relay_removes_what_is_older_than_the_days_that_are_set(
    connection: Connection, stream: Stream, monkeypatch: pytest.MonkeyPatch, days: int, shortened: bool
) -> None:
    fill(connection, stream, 1, 5)
    feed = Feed(connection, stream, URL)
    with relaying_over(connection, stream) as relay:
        until(is_whole(relay, stream, connection))
    end = feed.end()
    monkeypatch.setattr("consumers.relay.utc_now", lambda: utc_now() + timedelta(days=2))
    with relaying_over(connection, stream, days=days) as relay:
        until(is_whole(relay, stream, connection))
        until(lambda: not days or relay._retain_at > time.monotonic() + 60)
        until(lambda: relay.is_active)
    assert feed.extent().first_seq == (end.seq if shortened else 1)
    assert feed.end() == end


def test_what_views_were_told_by_is_kept_until_it_is_settled(connection: Connection, stream: Stream) -> None:
    feed = Feed(connection, stream, URL)
    told = Message("pool.joined", None, "a", "2026-01-01T00:00:00Z", {})
    end = feed.append([Draft(told, Place(derived=1)), Draft(told, Place(derived=2))], feed.end())
    assert feed.retain(utc_now() + timedelta(days=1)) == 0
    feed.append([Draft(told, Place(derived=3, settled=3))], end)
    assert feed.retain(utc_now() + timedelta(days=1)) == 2


def test_a_feed_that_somebody_emptied_is_not_begun_anew_by_itself(connection: Connection, stream: Stream) -> None:
    fill(connection, stream, 1, 1)
    with relaying_over(connection, stream) as relay:
        until(is_whole(relay, stream, connection))
    feed = Feed(connection, stream, URL)
    connection.call(connection.api(f"STREAM.PURGE.{feed.stream.name}"))
    with relaying_over(connection, stream) as relay:
        until(lambda: relay.failure)
        assert "delete the stream to begin the feed anew" in str(relay.failure)
        assert not relay.is_active
        connection.call(connection.api(f"STREAM.DELETE.{feed.stream.name}"))
        Feed(connection, stream, URL)
        until(lambda: relay.failure is None and relay.position == 3)
    assert on_feed(connection, feed) == expected(connection, stream)


def test_a_ledger_that_ends_before_the_feed_is_said_to_have_lost_events(connection: Connection) -> None:
    stream = fresh_stream(connection)
    feed = Feed(connection, stream, URL)
    feed.append([Draft(Message("candidate.sourced", "9", "a", "t", {}), Place(ledger=9))], feed.end())
    with relaying_over(connection, stream) as relay:
        until(lambda: relay.failure)
        assert "rapport verify" in str(relay.failure)
    assert feed.end().seq == 1


def test_single_messages_cannot_be_deleted_from_the_feed(connection: Connection, stream: Stream) -> None:
    feed = Feed(connection, stream, URL)
    feed.append([Draft(Message("candidate.sourced", "1", "a", "t", {}), Place(ledger=1))], feed.end())
    with pytest.raises(OperationalError):
        connection.call(erase_messages(connection, feed.stream, [1]))
    assert feed.end().seq == 1


def test_relaying_goes_on_where_it_was_when_the_server_comes_back(own_server: EmbeddedServer) -> None:
    own_server._requested_port = own_server.port
    with Connection(own_server.url) as connection:
        stream = fresh_stream(connection)
        with relaying_over(connection, stream) as relay:
            filling = threading.Thread(target=fill, args=(connection, stream, 1, 300))
            filling.start()
            until(lambda: relay.position > 100)
            filling.join()
            own_server.stop()
            own_server.start()
            connection.call(connection.wait_connected(30.0))
            fill(connection, stream, 1_000, 3)
            until(is_whole(relay, stream, connection), 60)
            assert on_feed(connection, Feed(connection, stream, URL)) == expected(connection, stream)


@pytest.mark.skipif(not SOAK, reason="half a minute on three servers; with RAPPORT_SOAK=1")
def test_on_three_servers_nothing_is_lost_or_doubled_when_leaders_die() -> None:
    """Two relays, while whoever leads the feed is killed, and then one that is paused comes back."""
    cluster, name = shared_cluster(), fresh_name("F")
    over = threading.Event()
    with Connection(cluster.urls) as here, Connection(cluster.urls) as there, Connection(cluster.urls) as beside:
        stream = declare_stream(here, name, replicas=3)
        feed = Feed(here, stream, URL)

        def write() -> None:
            for number in range(1, 100_000):
                if over.is_set():
                    return
                with contextlib.suppress(OperationalError):
                    fill(beside, stream, number, 1)

        with relaying_over(here, stream) as first, relaying_over(there, stream) as second:
            writer = threading.Thread(target=write)
            writer.start()
            try:
                for end, come_back in ((cluster.kill, cluster.start), (cluster.pause, cluster.resume)):
                    goal = max(first.position, second.position) + 60
                    await_until(lambda n=goal: max(first.position, second.position) > n, "events on the feed")
                    index = cluster.leader(feed.stream.name)
                    end(index)
                    try:
                        goal = max(first.position, second.position) + 60
                        await_until(lambda n=goal: max(first.position, second.position) > n, "another leader")
                    finally:
                        come_back(index)
            finally:
                over.set()
                writer.join()
                cluster.wait_healthy()
            last = LedgerReader(here, stream).last_seq()
            await_until(lambda: max(first.position, second.position) >= last, "the end")
        assert on_feed(here, feed) == expected(here, stream)


# ── its thread goes on ──


def test_a_turn_that_another_thread_has_just_taken_ends_nothing(connection: Connection, stream: Stream) -> None:
    """Whoever says something while nobody relays refuses turns, and so does the relay."""

    class Raced(deque[Any]):
        raced = False

        def popleft(self) -> Any:
            if not self.raced:
                self.raced = True
                relay._refuse_turns()  # as another thread would, just here
            return super().popleft()

    relay = Relay(LedgerReader(connection, stream), Feed(connection, stream, URL), 0)
    relay._turns = Raced()
    with pytest.raises(Overtaken):
        relay.say(lambda _end, _at: []).result(1)


def test_what_others_say_badly_or_no_more_stops_nobody(connection: Connection, stream: Stream) -> None:
    with relaying_over(connection, stream) as relay:
        until(lambda: relay.is_active)

        def badly(_end: End, _at: int) -> list[Draft]:
            nonlocal given_up
            given_up = relay.say(lambda _end, _at: [])
            assert given_up.cancel()
            raise KeyError("made up")

        given_up: Future[End] = Future()
        with pytest.raises(KeyError):
            relay.say(badly).result(10)
        fill(connection, stream, 1, 1)
        until(is_whole(relay, stream, connection))
        until(lambda: relay.failure is None)
        assert given_up.cancelled()
        assert relay._thread.is_alive()


def test_a_fault_while_standing_by_is_said_and_gone_on_after(
    connection: Connection, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Message("pool.joined", None, "a", "2026-01-01T00:00:00Z", {})
    with relaying_over(connection, stream) as relay:
        until(lambda: relay.is_active)

        def odd() -> End:
            raise KeyError("made up")

        with monkeypatch.context() as patch:
            patch.setattr(relay._feed, "end", odd)
            other = Feed(connection, stream, URL)
            other.append([Draft(told, Place(ledger=0))], other.end())
            fill(connection, stream, 1, 1)  # and is overtaken with it
            until(lambda: relay.failure)
            assert "a fault in Rapport: KeyError" in str(relay.failure)
        until(is_whole(relay, stream, connection))
        until(lambda: relay.failure is None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_relay_whose_thread_has_ended_says_so(connection: Connection, stream: Stream) -> None:
    relay = Relay(LedgerReader(connection, stream), Feed(connection, stream, URL), 0)
    assert relay.failure is None, "it has not begun"

    def ends() -> None:
        raise SystemExit

    relay._relay_or_stand_by = ends  # type: ignore[method-assign]
    relay.start()
    until(lambda: relay.failure)
    assert "start the node again" in str(relay.failure)
    relay.stop()
    assert relay.failure is None, "it was told to end"
