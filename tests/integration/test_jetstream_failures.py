"""When things break: lost answers, killed servers, broken connections. No append is lost, doubled or torn."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from eventsourcing.persistence import IntegrityError, Notification, OperationalError, ProgrammingError, StoredEvent

from infra.jetstream import (
    Bucket,
    Connection,
    JetStreamApplicationRecorder,
    LedgerReader,
    Stream,
    declare_stream,
)
from infra.nats_server import EmbeddedServer
from tests.proxy import Proxy, is_ack, is_refusal, never, once
from tests.servers import fresh_name, shared_server


def event(originator_id: str, version: int, state: bytes = b'{"a":1}') -> StoredEvent:
    return StoredEvent(originator_id, version, "domain:Sourced", state)


def candidate() -> str:
    return f"candidate-{uuid4().hex}"


@pytest.fixture
def proxy(nats_server: EmbeddedServer) -> Iterator[Proxy]:
    proxy = Proxy(nats_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def through_proxy(proxy: Proxy, nats_server: EmbeddedServer, stream: Stream) -> Iterator[JetStreamApplicationRecorder]:
    url = nats_server.url.replace(str(nats_server.port), str(proxy.port))
    with Connection(url, request_timeout_s=2.0) as connection:
        yield JetStreamApplicationRecorder(connection, stream, ack_timeout_s=1.0)


@pytest.mark.parametrize("count", [1, 3])
class TestLostAcknowledgement:
    """The server stored the events and its answer never came."""

    def test_the_append_is_there_once_and_returns_its_seqs(
        self, through_proxy: JetStreamApplicationRecorder, proxy: Proxy, count: int
    ) -> None:
        originator_id = candidate()
        through_proxy.insert_events([event(candidate(), 1)])
        proxy.swallow = once(is_ack)
        seqs = through_proxy.insert_events([event(originator_id, v + 1) for v in range(count)])
        assert proxy.swallowed.is_set()
        assert seqs == list(range(2, 2 + count))
        assert len(through_proxy.select_events(originator_id)) == count
        assert through_proxy.max_notification_id() == 1 + count

    def test_also_when_the_connection_breaks_instead(
        self, through_proxy: JetStreamApplicationRecorder, proxy: Proxy, count: int
    ) -> None:
        originator_id = candidate()
        through_proxy.insert_events([event(candidate(), 1)])

        def swallow_and_break(chunk: bytes) -> bool:
            if is_ack(chunk):
                proxy.swallow = never
                threading.Timer(0.05, proxy.hang_up).start()
                return True
            return False

        proxy.swallow = swallow_and_break
        assert through_proxy.insert_events([event(originator_id, v + 1) for v in range(count)]) == list(
            range(2, 2 + count)
        )
        assert through_proxy.max_notification_id() == 1 + count

    def test_somebody_elses_events_in_their_place_are_a_conflict(
        self,
        through_proxy: JetStreamApplicationRecorder,
        recorder: JetStreamApplicationRecorder,
        proxy: Proxy,
        count: int,
    ) -> None:
        """The answer that got lost was a refusal."""
        originator_id = candidate()
        recorder.insert_events([event(originator_id, v + 1, b'{"mine":false}') for v in range(count)])
        proxy.swallow = once(is_refusal)
        with pytest.raises(IntegrityError):
            through_proxy.insert_events([event(originator_id, v + 1) for v in range(count)])
        assert proxy.swallowed.is_set()
        assert recorder.max_notification_id() == count


def test_an_import_over_breaking_connections_stores_everything_once(
    through_proxy: JetStreamApplicationRecorder, proxy: Proxy
) -> None:
    groups = [[event(candidate(), 1), event(candidate(), 1)] for _ in range(6_000)]
    breaking = threading.Event()

    def keep_breaking() -> None:
        for _ in range(3):
            time.sleep(0.12)
            proxy.hang_up()
        breaking.set()

    threading.Thread(target=keep_breaking, daemon=True).start()
    outcomes = through_proxy.insert_many(groups)
    breaking.wait()
    assert not any(isinstance(outcome, Exception) for outcome in outcomes)
    assert through_proxy.max_notification_id() == 12_000
    seqs = sorted(seq for outcome in outcomes if not isinstance(outcome, Exception) for seq in outcome)
    assert seqs == list(range(1, 12_001))


def test_reads_go_on_after_a_reconnect(through_proxy: JetStreamApplicationRecorder, proxy: Proxy) -> None:
    originator_id = candidate()
    through_proxy.insert_events([event(originator_id, 1)])
    for version in range(2, 6):
        proxy.hang_up()
        assert len(through_proxy.select_events(originator_id)) == version - 1
        assert len(through_proxy.select_notifications(None, 10)) == version - 1
        through_proxy.insert_events([event(originator_id, version)])


def test_a_follower_neither_skips_nor_doubles_over_breaking_connections(
    through_proxy: JetStreamApplicationRecorder, recorder: JetStreamApplicationRecorder, proxy: Proxy
) -> None:
    total = 30_000
    recorder.insert_many([[event(candidate(), 1)] for _ in range(total)])
    reader = LedgerReader(through_proxy.connection, through_proxy.stream)
    seen: list[int] = []
    with reader.follow(0, max_batch=500, max_wait_s=0.2) as follower:
        for number, batch in enumerate(follower):
            seen += [message.seq for message in batch]
            if number % 7 == 3:
                proxy.hang_up()
            if len(seen) >= total:
                break
    assert seen == list(range(1, total + 1))


def test_a_follower_passes_holes(recorder: JetStreamApplicationRecorder) -> None:
    ids = [candidate() for _ in range(5)]
    recorder.insert_many([[event(i, 1)] for i in ids])
    for originator_id in (ids[0], ids[2], ids[4]):
        recorder.erase_events(originator_id)
    reader = LedgerReader(recorder.connection, recorder.stream)
    assert [m.seq for batch in reader.read_batches(0) for m in batch] == [2, 4]
    assert [m.seq for batch in reader.read_batches(2) for m in batch] == [4]
    assert [m.seq for batch in reader.read_batches(0, stop_seq=3) for m in batch] == [2]
    assert list(reader.read_batches(4)) == []
    assert reader.last_seq() == 5


def test_stopping_wakes_a_waiting_follower_at_once(recorder: JetStreamApplicationRecorder) -> None:
    follower = LedgerReader(recorder.connection, recorder.stream).follow(0, max_wait_s=30.0)
    threading.Timer(0.2, follower.stop).start()
    started = time.monotonic()
    assert list(follower) == []
    assert time.monotonic() - started < 15.0


def test_stopping_wakes_a_waiting_subscription_at_once(recorder: JetStreamApplicationRecorder) -> None:
    with recorder.subscribe() as subscription:
        threading.Timer(0.2, subscription.stop).start()
        started = time.monotonic()
        assert list(subscription) == []
        assert time.monotonic() - started < 15.0


def test_an_idle_follower_hands_out_empty_batches(recorder: JetStreamApplicationRecorder) -> None:
    with LedgerReader(recorder.connection, recorder.stream).follow(0, max_wait_s=0.05) as follower:
        assert [next(follower), next(follower)] == [[], []]
        recorder.insert_events([event(candidate(), 1)])
        assert [message.seq for message in next(follower)] == [1]


def kill_and_restart(server: EmbeddedServer) -> EmbeddedServer:
    """SIGKILL, and another server on the same store and port."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    while server.pid is not None:
        time.sleep(0.01)
    server.stop()
    again = EmbeddedServer(server.data_dir, port=server.port)
    again.start()
    return again


def test_kill_9_of_the_server_loses_no_acknowledged_event(tmp_path: Path) -> None:
    """Three rounds of writing until the server is killed under the writers, with one connection throughout."""
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    acknowledged: list[str] = []
    try:
        with Connection(server.url, request_timeout_s=5.0) as connection:
            recorder = JetStreamApplicationRecorder(connection, declare_stream(connection), ack_timeout_s=3.0)
            bucket = Bucket(connection, "claims")
            for _ in range(3):
                stop = threading.Event()

                def write(stop: threading.Event = stop) -> None:
                    while not stop.is_set():
                        originator_id = candidate()
                        with suppress(OperationalError):
                            recorder.insert_events([event(originator_id, 1)])
                            recorder.insert_events([event(originator_id, 2), event(originator_id, 3)])
                            assert bucket.create(originator_id, b"claim")
                            acknowledged.append(originator_id)

                writers = [threading.Thread(target=write) for _ in range(4)]
                before = len(acknowledged)
                for writer in writers:
                    writer.start()
                deadline = time.monotonic() + 60
                while len(acknowledged) < before + 10:
                    assert time.monotonic() < deadline, "too little was acknowledged to be lost"
                    time.sleep(0.01)
                server = kill_and_restart(server)
                time.sleep(0.3)
                stop.set()
                for writer in writers:
                    writer.join()
            for originator_id in acknowledged:
                assert [e.originator_version for e in recorder.select_events(originator_id)] == [1, 2, 3]
            assert bucket.get_many(acknowledged) == dict.fromkeys(acknowledged, b"claim")
            seqs = [m.seq for batch in LedgerReader(connection, recorder.stream).read_batches(0) for m in batch]
            assert seqs == list(range(1, len(seqs) + 1))
    finally:
        server.stop()


def test_a_subscription_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    try:
        with Connection(server.url) as connection:
            recorder = JetStreamApplicationRecorder(connection, declare_stream(connection))
            seen: list[Notification] = []
            with recorder.subscribe() as subscription:

                def listen() -> None:
                    for notification in subscription:
                        seen.append(notification)
                        if len(seen) == 40:
                            return

                listener = threading.Thread(target=listen)
                listener.start()
                for number in range(40):
                    if number in (10, 25):
                        server = kill_and_restart(server)
                    recorder.insert_events([event(candidate(), 1)])
                listener.join(20)
            assert [notification.id for notification in seen] == list(range(1, 41))
    finally:
        server.stop()


def test_a_server_without_jetstream_is_named(tmp_path: Path) -> None:
    with (
        plain_server(tmp_path) as port,
        pytest.raises(OperationalError, match=rf"127.0.0.1:{port} does not have JetStream enabled; start it with -js"),
    ):
        Connection(f"nats://127.0.0.1:{port}")


@contextmanager
def plain_server(folder: Path) -> Iterator[int]:
    import subprocess

    from infra.nats_server import find_binary

    process = subprocess.Popen(
        [str(find_binary()), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(folder)], stderr=subprocess.DEVNULL
    )
    try:
        while not (ports := list(folder.glob("*.ports"))) or not ports[0].read_text().rstrip().endswith("}"):
            time.sleep(0.01)
        yield int(ports[0].read_text().split("127.0.0.1:")[1].split('"')[0])
    finally:
        process.terminate()
        process.wait()


def test_an_absent_server_is_named_within_seconds_and_without_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(OperationalError, match=rf"no NATS server answers at 127.0.0.1:{port} within 1 s") as caught:
        Connection(f"nats://rapport:hunter2@127.0.0.1:{port}", connect_timeout_s=1.0)
    assert time.monotonic() - started < 10.0
    assert "hunter2" not in str(caught.value)


def test_a_wrong_login_is_named() -> None:
    with pytest.raises(OperationalError, match="refuses the login"):
        Connection(f"nats://rapport:wrong@127.0.0.1:{shared_server().port}", connect_timeout_s=2.0)


def test_a_missing_stream_is_named(connection: Connection) -> None:
    recorder = JetStreamApplicationRecorder(connection, Stream("NOWHERE", "nowhere"), ack_timeout_s=1.0)
    with pytest.raises(OperationalError, match="there is no stream NOWHERE"):
        recorder.insert_events([event(candidate(), 1)])
    with pytest.raises(OperationalError, match="there is no stream NOWHERE"):
        next(LedgerReader(connection, recorder.stream).follow(0))


def test_a_stream_with_other_settings_is_refused(connection: Connection) -> None:
    name = fresh_name()
    settings = {"name": name, "subjects": [f"{name.lower()}.>"], "retention": "workqueue", "storage": "file"}
    connection.call(connection.api(f"STREAM.CREATE.{name}", settings))
    with pytest.raises(ProgrammingError, match="retention is 'workqueue' instead of 'limits'"):
        declare_stream(connection, name)


def test_nothing_works_after_close_and_it_says_so(nats_server: EmbeddedServer) -> None:
    connection = Connection(nats_server.url)
    recorder = JetStreamApplicationRecorder(connection, declare_stream(connection, fresh_name()))
    connection.close()
    connection.close()
    with pytest.raises(OperationalError, match="closed"):
        recorder.insert_events([event(candidate(), 1)])


def test_closing_the_connection_ends_who_waits_on_it(nats_server: EmbeddedServer) -> None:
    """With an error that says so, not with a hang."""
    connection = Connection(nats_server.url)
    follower = LedgerReader(connection, declare_stream(connection, fresh_name())).follow(0, max_wait_s=30.0)
    threading.Timer(0.2, connection.close).start()
    started = time.monotonic()
    with pytest.raises(OperationalError, match="closed"):
        next(follower)
    assert time.monotonic() - started < 15.0
    follower.stop()


def test_a_forked_process_is_told_to_connect_by_itself(recorder: JetStreamApplicationRecorder) -> None:
    """Two processes on one socket would take each other's acknowledgements; the parent goes on undisturbed."""
    recorder.insert_events([event(candidate(), 1)])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = b""
        try:
            for call in (
                lambda: recorder.insert_events([event(candidate(), 1)]),
                lambda: recorder.select_notifications(1, 10),
                recorder.max_notification_id,
            ):
                try:
                    call()
                except OperationalError as error:
                    said += str(error).encode()
        finally:
            os.write(writing, said or b"nothing")
            os._exit(0)
    assert recorder.insert_events([event(candidate(), 1)]) == [2]
    os.waitpid(child, 0)
    assert os.read(reading, 4096).count(b"connect in the new process") == 3


def test_closing_does_not_wait_for_what_cannot_be_answered(own_server: EmbeddedServer) -> None:
    """A call under way ends with an error that says so, and close returns."""
    connection = Connection(own_server.url, request_timeout_s=60.0)
    recorder = JetStreamApplicationRecorder(connection, declare_stream(connection, fresh_name()))
    own_server.stop()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(recorder.max_notification_id)
        time.sleep(0.3)
        started = time.monotonic()
        connection.close()
        assert time.monotonic() - started < 15.0
        with pytest.raises(OperationalError, match="closed"):
            asked.result(15.0)


def test_what_a_full_page_cannot_hold_comes_on_the_next(recorder: JetStreamApplicationRecorder) -> None:
    """An aggregate of more bytes than one page of a read, and of more events."""
    originator_id, other = candidate(), candidate()
    for version in range(1, 9):
        recorder.insert_events([event(originator_id, version, b"x" * 5_000_000)])
    assert [len(e.state) for e in recorder.select_events(originator_id)] == [5_000_000] * 8
    for start in (1, 901, 1801):
        recorder.insert_events([event(other, version) for version in range(start, start + 900)])
    assert [e.originator_version for e in recorder.select_events(other)] == list(range(1, 2701))
    assert [n.id for n in recorder.select_notifications(1, 2000)] == list(range(1, 2001))
    assert [n.id for n in recorder.select_notifications(1, 9, topics=["none"])] == []
