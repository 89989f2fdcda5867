"""The quick way: blocking connections of the callers' own threads, appends in groups, pages read ahead."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from infra.jetstream import Connection, JetStreamApplicationRecorder, Stream
from infra.jetstream import notifications as notifications_module
from infra.jetstream.lane import Lane, Request
from infra.jetstream.quick import FEW
from infra.jetstream.replies import ConnectionLost
from infra.jetstream.wire import Door
from infra.nats_server import EmbeddedServer
from tests.servers import fresh_recorder, fresh_stream, shared_connection

GREETING = b'INFO {"server_id":"X","max_payload":1048576}\r\n'


def event(originator_id: str, version: int, state: bytes = b'{"a":1}') -> StoredEvent:
    return StoredEvent(originator_id, version, "domain:Sourced", state)


def candidate() -> str:
    return f"candidate-{uuid4().hex}"


def lane_to(talk: Callable[[socket.socket, bytes], None]) -> Lane:
    """A lane whose other end greets, reads the login and then says what `talk` sends; it gets the reply inbox."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with listener, connection:
            connection.sendall(GREETING)
            login = b""
            while b"PING\r\n" not in login:
                login += connection.recv(4096)
            connection.sendall(b"PONG\r\n")
            talk(connection, login.split(b"SUB ")[1].split(b".*")[0])

    threading.Thread(target=serve, daemon=True).start()
    address = listener.getsockname()
    return Lane(Door(None, address, None, "127.0.0.1", False, lambda _: b"CONNECT {}\r\n"))


@given(
    bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 400), max_size=8),
    pings=st.booleans(),
)
def test_replies_are_the_same_however_the_stream_of_bytes_is_cut(
    bodies: list[bytes], cuts: list[int], pings: bool
) -> None:
    """Frames may arrive in any pieces, with pings between, and with bodies that look like frames."""

    def talk(connection: socket.socket, inbox: bytes) -> None:
        connection.recv(1 << 16)
        said = b""
        for number, body in enumerate(bodies, 1):
            header = b"NATS/1.0\r\nA: b\r\n\r\n"
            hostile = body + b"\r\nMSG x.1 1 3\r\n"
            said += b"PING\r\n" if pings else b""
            said += b"HMSG %b.%x 1 %d %d\r\n%b%b\r\n" % (
                inbox, number, len(header), len(header) + len(hostile), header, hostile,
            )  # fmt: skip
        for cut in sorted({cut for cut in cuts if cut < len(said)}, reverse=True):
            said, rest = said[:cut], said[cut:]
            pieces.append(rest)
        connection.sendall(said)
        for piece in reversed(pieces):
            connection.sendall(piece)
        done.wait(5.0)

    pieces: list[bytes] = []
    done = threading.Event()
    lane = lane_to(talk)
    try:
        replies = lane.exchange([Request("a", b"", b"?")] * len(bodies), 5.0)
    finally:
        done.set()
        lane.close()
    assert replies == [body + b"\r\nMSG x.1 1 3\r\n" for body in bodies]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"-ERR 'Authorization Violation'\r\n", "Authorization"),
        (b"HTTP/1.1 400 Bad Request\r\n", "protocol"),
        (b"", "closed"),
    ],
)
def test_what_is_not_an_answer_ends_the_lane_with_a_reason(said: bytes, words: str) -> None:
    """A refusal, another protocol and a closed socket each raise ConnectionLost that says which."""

    def talk(connection: socket.socket, _: bytes) -> None:
        connection.recv(1 << 16)
        connection.sendall(said)

    with pytest.raises(ConnectionLost, match=words):
        lane_to(talk).exchange([Request("a", b"", b"?")], 5.0)


def test_silence_ends_the_lane_in_time() -> None:
    """A server that says nothing costs the time-out and no more."""
    done = threading.Event()
    lane = lane_to(lambda _connection, _inbox: done.wait(10.0) and None)
    with pytest.raises(ConnectionLost, match="in time"):
        lane.exchange([Request("a", b"", b"?")], 0.05)
    done.set()


@pytest.mark.parametrize("threads", [3, FEW * 4])
def test_appends_of_one_moment_each_get_their_own_place(recorder: JetStreamApplicationRecorder, threads: int) -> None:
    """Few go pipelined and many as one batch; each caller gets the seq at which its event stands."""
    ids = [candidate() for _ in range(threads * 5)]
    start = threading.Barrier(threads)

    def write(mine: list[str]) -> dict[str, int]:
        start.wait()
        return {id_: (recorder.insert_events([event(id_, 1)]) or [0])[0] for id_ in mine}

    with ThreadPoolExecutor(threads) as pool:
        found = {k: v for part in pool.map(write, [ids[n::threads] for n in range(threads)]) for k, v in part.items()}
    log = recorder.select_notifications(None, len(ids) + 1)
    assert {item.originator_id: item.id for item in log} == found


def test_a_conflict_in_a_group_is_its_own_callers_alone() -> None:
    """Of many appends at once, only the one on an aggregate that another process has moved on fails."""
    mine = fresh_recorder()
    other = JetStreamApplicationRecorder(mine.connection, mine.stream)
    stale = candidate()
    mine.insert_events([event(stale, 1)])
    other.insert_events([event(stale, 2, b'{"other":1}')])
    ids = [candidate() for _ in range(40)]
    start = threading.Barrier(len(ids) + 1)

    def write(id_: str, version: int) -> object:
        start.wait()
        try:
            return mine.insert_events([event(id_, version)])
        except IntegrityError as error:
            return error

    with ThreadPoolExecutor(len(ids) + 1) as pool:
        lost = pool.submit(write, stale, 2)
        others = [pool.submit(write, id_, 1) for id_ in ids]
    assert isinstance(lost.result(), IntegrityError)
    assert not [o.result() for o in others if isinstance(o.result(), Exception)]
    assert [e.state for e in mine.select_events(stale)] == [b'{"a":1}', b'{"other":1}']
    assert len(mine.select_notifications(None, 100)) == len(ids) + 2


def test_two_threads_with_the_same_next_event_in_one_group(recorder: JetStreamApplicationRecorder) -> None:
    """Rivals for one version never share a batch, in which only the first would be checked."""
    for _ in range(5):
        contested = candidate()
        start = threading.Barrier(FEW * 3)

        def write(number: int, contested: str = contested, start: threading.Barrier = start) -> bool:
            id_ = contested if number % 3 == 0 else candidate()
            start.wait()
            try:
                recorder.insert_events([event(id_, 1, b'{"n":%d}' % number)])
            except IntegrityError:
                return False
            return id_ == contested

        with ThreadPoolExecutor(FEW * 3) as pool:
            assert sum(pool.map(write, range(FEW * 3))) == 1
        assert len(recorder.select_events(contested)) == 1


def test_a_waiting_thread_that_gives_up_keeps_nobody_waiting(
    recorder: JetStreamApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread interrupted while it waits for its group is never made to lead one."""
    quick = recorder._quick
    store, entered, go_on = quick._store, threading.Event(), threading.Event()

    def store_slowly(group: Sequence[object]) -> None:
        entered.set()
        assert go_on.wait(10.0)
        store(group)

    monkeypatch.setattr(quick, "_store", store_slowly)
    with ThreadPoolExecutor(3) as pool:
        leader = pool.submit(recorder.insert_events, [event(candidate(), 1)])
        assert entered.wait(10.0)
        followers = [pool.submit(recorder.insert_events, [event(candidate(), 1)]) for _ in range(2)]
        while len(quick._waiting) < 2:
            time.sleep(0.001)
        interrupted = quick._waiting[0]
        quick._withdraw(interrupted)  # what its thread does on KeyboardInterrupt
        go_on.set()
        assert leader.result(10.0)
        interrupted.signal.release()  # its thread, which in this test goes on and looks closer
        assert all(follower.result(10.0) for follower in followers)
    assert not quick._led


def test_lanes_come_back_after_the_server_was_killed(own_server: EmbeddedServer) -> None:
    """What was idle while the server died is not used any more, and no append is lost or doubled."""
    with Connection(own_server.url) as connection:
        recorder = JetStreamApplicationRecorder(connection, fresh_stream(connection))
        id_ = candidate()
        recorder.insert_events([event(id_, 1)])
        port = own_server.port
        own_server.stop()
        own_server._requested_port = port
        own_server.start()
        recorder.insert_events([event(id_, 2)])
        assert [e.originator_version for e in recorder.select_events(id_)] == [1, 2]
        with connection.lanes.lane() as lane:
            assert lane.door.server is connection.client._current_server


def test_pages_in_a_row_miss_nothing_that_was_stored_meanwhile(stream: Stream) -> None:
    """A page asked for ahead is completed with what came after it was asked for."""
    recorder = JetStreamApplicationRecorder(shared_connection(), stream)
    for _ in range(5):
        recorder.insert_events([event(candidate(), 1)])
    seqs = [item.id for item in recorder.select_notifications(1, 2)]
    seqs += [item.id for item in recorder.select_notifications(3, 2)]  # asks ahead for 5 and 6, and 6 is not there yet
    recorder.insert_events([event(candidate(), 1)])
    seqs += [item.id for item in recorder.select_notifications(5, 2)]
    assert seqs == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("by_another_process", [False, True])
def test_what_was_erased_does_not_come_out_of_a_page_asked_for_ahead(
    recorder: JetStreamApplicationRecorder, monkeypatch: pytest.MonkeyPatch, by_another_process: bool
) -> None:
    """An erasure drops the page; of another process's the page knows nothing, so it is used for a second only."""
    ids = [candidate() for _ in range(6)]
    for id_ in ids:
        recorder.insert_events([event(id_, 1)])
    recorder.select_notifications(1, 2)
    recorder.select_notifications(3, 2)
    eraser = JetStreamApplicationRecorder(recorder.connection, recorder.stream) if by_another_process else recorder
    eraser.erase_events(ids[5])
    if by_another_process:
        monkeypatch.setattr(notifications_module, "AHEAD_S", 0.0)
    assert [item.id for item in recorder.select_notifications(5, 2)] == [5]


@given(pages=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), max_size=12))
def test_reading_from_anywhere_in_any_order_is_reading_the_log(pages: list[tuple[int, int]]) -> None:
    """Whatever was read ahead, a page is what the log holds there."""
    recorder, log = _log_of_ten()
    for start, limit in pages:
        assert recorder.select_notifications(start, limit) == log[start - 1 :][:limit]


def _log_of_ten() -> tuple[JetStreamApplicationRecorder, list[object]]:
    if not _TEN:
        recorder = fresh_recorder()
        for _ in range(10):
            recorder.insert_events([event(candidate(), 1)])
        _TEN.append((recorder, list(recorder.select_notifications(None, 100))))
    return _TEN[0]


_TEN: list[tuple[JetStreamApplicationRecorder, list[object]]] = []
