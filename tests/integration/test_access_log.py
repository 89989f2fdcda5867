"""The access log on a real nats-server: one chain, nothing lost without a trace, no answer without a record."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.access import START, Access, Head, Outcome, Read, line_of
from domain.event import utc_now
from infra import access_log
from infra.access_log import AccessLog, NotRecorded
from infra.jetstream import Connection, ConnectionLost, Stream, declare_stream
from infra.jetstream.stream import StoredMessage, state
from infra.nats_server import EmbeddedServer
from tests.cluster import await_until, shared_cluster
from tests.proxy import Proxy, is_ack, is_refusal, once
from tests.servers import fresh_name


def read(**fields: Any) -> Access:
    known = {"role": "analyst", "what": Read.PROFILE, "outcome": Outcome.SERVED, "request": uuid4().hex}
    return Access(occurred_at=utc_now(), **known | fields)


def record(log: AccessLog, *accesses: Access) -> list[BaseException | None]:
    """All of them at once; for each what went wrong, if anything did."""

    async def all_of_them() -> list[BaseException | None]:
        return await asyncio.gather(*(log.record(a) for a in accesses), return_exceptions=True)

    return asyncio.run(all_of_them())


def requests(log: AccessLog) -> list[str | None]:
    return [entry.access.request for entry in log.entries()]


def messages(log: AccessLog, connection: Connection) -> int:
    return int(connection.call(state(connection, log.stream))["messages"])


@pytest.fixture
def ledger() -> Stream:
    name = fresh_name("A")
    return Stream(name, name.lower())


@pytest.fixture
def log(connection: Connection, ledger: Stream) -> AccessLog:
    return AccessLog(connection, ledger)


@contextmanager
def connected(server: EmbeddedServer) -> Iterator[Connection]:
    with Connection(server.url) as connection:
        yield connection


def test_an_empty_log_is_whole(log: AccessLog) -> None:
    assert log.verify() == (0, None, None, [])
    assert list(log.entries()) == []


def test_records_stand_in_the_order_in_which_they_were_confirmed(log: AccessLog, connection: Connection) -> None:
    told = [read(candidates=(uuid4().hex,), count=1), read(what=Read.SQL, schemas=("pii",), statement="ab" * 32)]
    for access in told:
        assert record(log, access) == [None]
    found = list(log.entries())
    assert [entry.access for entry in found] == told
    assert [entry.number for entry in found] == [1, 2]
    assert log.verify() == (2, 1, found[-1].head, [])


def test_reads_that_come_together_share_a_message(log: AccessLog, connection: Connection) -> None:
    """And with it the sync, which is what a record costs."""
    told = [read() for _ in range(300)]
    assert set(record(log, *told)) == {None}
    assert sorted(requests(log)) == sorted(a.request for a in told)
    assert messages(log, connection) < 30
    assert log.verify().findings == []


def test_records_that_name_many_fit_the_servers_messages(log: AccessLog, connection: Connection) -> None:
    told = [read(candidates=tuple(uuid4().hex for _ in range(100)), count=100) for _ in range(600)]
    assert set(record(log, *told)) == {None}
    assert messages(log, connection) > 4
    assert log.verify()[0] == 600
    assert log.verify().is_clean


def test_two_nodes_write_one_chain(nats_server: EmbeddedServer, ledger: Stream) -> None:
    with connected(nats_server) as here, connected(nats_server) as there:
        logs = [AccessLog(here, ledger), AccessLog(there, ledger)]
        told = [read() for _ in range(200)]

        async def writer(log: AccessLog, accesses: list[Access]) -> None:
            for access in accesses:
                await log.record(access)

        async def all_of_them() -> None:
            await asyncio.gather(*(writer(logs[n % 2], told[n::8]) for n in range(8)))

        asyncio.run(all_of_them())
        found = list(logs[0].entries())
        assert sorted(e.access.request or "" for e in found) == sorted(a.request or "" for a in told)
        assert [e.number for e in found] == list(range(1, 201))
        assert messages(logs[0], here) > 2, "they did take turns"
        assert logs[1].verify().is_clean


@pytest.mark.parametrize("lost", [is_ack, is_refusal])
def test_a_lost_answer_neither_doubles_nor_loses_a_record(
    nats_server: EmbeddedServer, ledger: Stream, lost: Any
) -> None:
    proxy = Proxy(nats_server.port)
    url = nats_server.url.replace(str(nats_server.port), str(proxy.port))
    try:
        with Connection(url) as behind, connected(nats_server) as beside:
            log, other = AccessLog(behind, ledger), AccessLog(beside, ledger)
            told = [read() for _ in range(3)]
            assert record(log, told[0]) == [None]
            assert record(other, told[1]) == [None]  # so that the next one of the first is refused once
            proxy.last_answer = once(lost)
            assert record(log, told[2]) == [None]
            assert requests(other) == [a.request for a in told]
            assert other.verify().is_clean
    finally:
        proxy.close()


def test_while_the_server_is_away_nothing_is_confirmed_and_the_chain_goes_on_afterwards(
    own_server: EmbeddedServer,
) -> None:
    own_server._requested_port = own_server.port
    with connected(own_server) as connection:
        log = AccessLog(connection, declare_stream(connection))
        assert record(log, read()) == [None]
        own_server.stop()
        (refusal,) = record(log, read())
        assert isinstance(refusal, NotRecorded)
        assert log.failure
        own_server.start()
        connection.call(connection.wait_connected(30.0))
        assert record(log, last := read()) == [None]
        assert log.failure is None
        assert requests(log)[-1] == last.request
        assert log.verify().is_clean


def test_a_node_that_is_being_stopped_confirms_nothing(nats_server: EmbeddedServer, ledger: Stream) -> None:
    with connected(nats_server) as connection:
        log = AccessLog(connection, ledger)
    (refusal,) = record(log, read())
    assert isinstance(refusal, NotRecorded)


def test_an_end_that_the_server_lost_is_noticed_by_who_wrote_it(own_server: EmbeddedServer, tmp_path: Path) -> None:
    """A server that comes back from an older copy: the node records no more until somebody has seen to it."""
    stored = own_server.data_dir / "jetstream"
    own_server._requested_port = own_server.port
    with connected(own_server) as connection:
        ledger = declare_stream(connection)
        log = AccessLog(connection, ledger)
        record(log, read(), read())
        own_server.stop()
        shutil.copytree(stored, tmp_path / "older")
        own_server.start()
        connection.call(connection.wait_connected(30.0))
        for _ in range(4):
            assert record(log, read()) == [None]
        noted = log.verify().head
        assert own_server.pid is not None
        os.kill(own_server.pid, signal.SIGKILL)
        own_server.stop()
        shutil.rmtree(stored)
        shutil.copytree(tmp_path / "older", stored)
        own_server.start()
        connection.call(connection.wait_connected(30.0))
        (refusal,) = record(log, read())
        assert "restart the node" in str(refusal)
        restarted = AccessLog(connection, ledger)
        assert record(restarted, *(read() for _ in range(9))) == [None] * 9
        assert restarted.verify().is_clean, "the chain alone cannot tell"
        assert "noted" in restarted.verify(noted).findings[0]


def test_on_three_servers_no_confirmed_record_is_lost_or_doubled_when_leaders_die() -> None:
    """Two nodes write while whoever leads the log is killed, and then one that is paused comes back."""
    cluster, name = shared_cluster(), fresh_name("A")
    ledger = Stream(name, name.lower(), replicas=3)
    with Connection(cluster.urls) as here, Connection(cluster.urls) as there:
        logs = [AccessLog(here, ledger), AccessLog(there, ledger)]
        confirmed: list[str | None] = []
        over = threading.Event()

        async def write(log: AccessLog) -> None:
            while not over.is_set():
                access = read()
                with contextlib.suppress(NotRecorded):
                    await log.record(access)
                    confirmed.append(access.request)

        async def writers() -> None:
            await asyncio.gather(*(write(log) for log in logs for _ in range(4)))

        thread = threading.Thread(target=lambda: asyncio.run(writers()))
        thread.start()
        try:
            for end, come_back in ((cluster.kill, cluster.start), (cluster.pause, cluster.resume)):
                goal = len(confirmed) + 50
                await_until(lambda goal=goal: len(confirmed) >= goal, "records to be confirmed")
                index = cluster.leader(logs[0].stream.name)
                end(index)
                try:
                    goal = len(confirmed) + 50
                    await_until(lambda goal=goal: len(confirmed) >= goal, "records under another leader")
                finally:
                    come_back(index)
        finally:
            over.set()
            thread.join()
            cluster.wait_healthy()
        stored = requests(logs[0])
        assert len(set(stored)) == len(stored), "none twice"
        assert set(confirmed) <= set(stored), "none lost"
        assert logs[1].verify().is_clean


# ── a log that somebody tampered with ──


def open_to_all(connection: Connection, log: AccessLog) -> None:
    """The same stream as anybody could have made it: single messages may be deleted."""
    config = connection.call(connection.api(f"STREAM.INFO.{log.stream.name}"))["config"]
    connection.call(connection.api(f"STREAM.DELETE.{log.stream.name}"))
    connection.call(connection.api(f"STREAM.CREATE.{log.stream.name}", config | {"deny_delete": False}))


def delete(connection: Connection, log: AccessLog, seq: int) -> None:
    connection.call(connection.api(f"STREAM.MSG.DELETE.{log.stream.name}", {"seq": seq}))


def publish(connection: Connection, log: AccessLog, body: bytes) -> None:
    connection.call(connection.request(f"{log.stream.prefix}.reads", body))


@pytest.fixture
def three(connection: Connection, log: AccessLog) -> AccessLog:
    open_to_all(connection, log)
    for _ in range(3):
        assert record(log, read()) == [None]
    return log


def test_a_server_without_the_newest_records_is_not_believed_that_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One server names the end of the log, another, cut off since, does not have it: nothing is chained before it."""
    cluster, name = shared_cluster(), fresh_name("A")
    with Connection(cluster.urls) as connection:
        ledger = Stream(name, name.lower(), replicas=3)
        told = [read() for _ in range(3)]
        assert record(AccessLog(connection, ledger), *told[:1]) == [None]
        assert record(AccessLog(connection, ledger), *told[1:2]) == [None]
        cut_off = AccessLog(connection, ledger)
        answers, get = [None], access_log.get_message

        async def behind(*args: Any, **query: Any) -> StoredMessage | None:
            return answers.pop() if answers else await get(*args, **query)

        monkeypatch.setattr(access_log, "get_message", behind)
        assert record(cut_off, told[2]) == [None]
        assert not answers
        assert requests(cut_off) == [access.request for access in told]
        assert cut_off.verify().is_clean


def test_what_was_stored_by_an_answer_that_was_lost_is_found_although_a_server_does_not_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer is lost, and who is asked then was cut off: the record is there once."""
    cluster, name = shared_cluster(), fresh_name("A")
    with Connection(cluster.urls) as connection:
        ledger = Stream(name, name.lower(), replicas=3)
        told, other = [read() for _ in range(2)], AccessLog(connection, ledger)
        assert record(other, told[0]) == [None]
        log, publish, get, lost = AccessLog(connection, ledger), access_log.publish_one, access_log.get_message, [2]

        async def stored_without_a_word(*args: Any, **how: Any) -> int:
            seq = await publish(*args, **how)
            if lost[0] == 2:
                lost[0] = 1
                raise ConnectionLost("the answer is lost")
            return seq

        async def cut_off(*args: Any, **query: Any) -> StoredMessage | None:
            if lost[0] == 1 and query.get("seq") == 2:
                lost[0] = 0
                return None
            return await get(*args, **query)

        monkeypatch.setattr(access_log, "publish_one", stored_without_a_word)
        monkeypatch.setattr(access_log, "get_message", cut_off)
        assert record(log, told[1]) == [None]
        assert requests(log) == [access.request for access in told]
        assert lost == [0]
        assert log.verify().is_clean


def test_the_server_refuses_to_delete_a_single_record(connection: Connection, log: AccessLog) -> None:
    record(log, read())
    with pytest.raises(Exception, match="delete"):
        delete(connection, log, 1)
    assert len(requests(log)) == 1


def test_a_removed_end_is_found(connection: Connection, three: AccessLog) -> None:
    delete(connection, three, 3)
    assert "its end is missing" in three.verify().findings[0]


def test_a_removed_middle_is_found(connection: Connection, three: AccessLog) -> None:
    delete(connection, three, 2)
    assert len(three.verify().findings) == 2, "the stream's numbers and the records' both tell"


def test_a_removed_front_is_found(connection: Connection, three: AccessLog) -> None:
    connection.call(connection.api(f"STREAM.PURGE.{three.stream.name}", {"seq": 2}))
    (finding,) = three.verify().findings
    assert "no record says" in finding


def test_an_emptied_log_is_found_however_it_goes_on(connection: Connection, log: AccessLog) -> None:
    record(log, read(), read())
    connection.call(connection.api(f"STREAM.PURGE.{log.stream.name}"))
    assert "empty" in log.verify().findings[0]
    again = AccessLog(connection, Stream(log.stream.name[:-7], log.stream.prefix[:-7]))
    assert record(again, read()) == [None]
    assert "begins anew" in again.verify().findings[0]
    (refusal,) = record(log, read())
    assert "restart the node" in str(refusal), "who wrote it knows better"


def test_a_log_emptied_behind_the_back_of_who_writes_it_is_found(connection: Connection, log: AccessLog) -> None:
    record(log, read(), read())
    connection.call(connection.api(f"STREAM.PURGE.{log.stream.name}"))
    assert record(log, read()) == [None]
    assert "records up to 2 are missing" in log.verify().findings[0]


def test_junk_in_the_stream_is_found_and_keeps_nobody_from_reading(connection: Connection, log: AccessLog) -> None:
    record(log, read())
    publish(connection, log, b"junk")
    assert record(log, read()) == [None]
    publish(connection, log, line_of(Head(7, "a" * 64), read())[0])
    assert record(log, read()) == [None]
    assert [entry.number for entry in log.entries()] == [1, 2, 8, 9]
    junk, jump = log.verify().findings
    assert "not a line" in junk
    assert "between records 2 and 8" in jump


def test_a_record_of_somebody_elses_chain_is_found(connection: Connection, three: AccessLog) -> None:
    publish(connection, three, line_of(START, read())[0])
    (finding,) = three.verify().findings
    assert "record 1 stands behind record 3" in finding


def test_no_more_than_a_hundred_findings_are_told_one_by_one(connection: Connection, log: AccessLog) -> None:
    publish(connection, log, b"\n".join([b"junk"] * 500))
    findings = log.verify().findings
    assert len(findings) == 101
    assert findings[-1] == "400 more"


# ── retention ──


def test_what_is_too_old_goes_from_the_front_and_the_rest_is_still_a_chain(
    connection: Connection, log: AccessLog
) -> None:
    record(log, *(read() for _ in range(5)))
    noted = log.verify().head
    assert log.retain(timedelta(days=1)) == 0
    assert log.retain(timedelta(0)) == 5
    (kept,) = log.entries()
    assert (kept.access.what, kept.access.through, kept.access.count) == (Read.RETENTION, 5, 5)
    assert kept.previous == (noted.hash if noted else None)
    assert record(log, read()) == [None]
    assert log.verify().is_clean
    assert (log.verify().first, log.verify().records) == (6, 2)
    assert log.verify(noted).is_clean, "its time was over"
    assert AccessLog(connection, Stream(log.stream.name[:-7], log.stream.prefix[:-7])).verify().is_clean


def test_a_removal_that_was_cut_short_is_made_up_for(connection: Connection, log: AccessLog) -> None:
    """The record of it stands first, so that there is none without."""
    record(log, *(read() for _ in range(5)))
    record(log, read(role="node", what=Read.RETENTION, through=5, count=5, request=None))
    assert log.verify().is_clean
    assert log.retain(timedelta(0)) == 6
    assert log.verify().is_clean


def test_entries_begin_behind_a_number_and_end_at_a_time(log: AccessLog) -> None:
    for _ in range(7):
        record(log, read(), read())
    everything = list(log.entries())
    for after in range(16):
        assert list(log.entries(after=after)) == everything[after:]
    now = utc_now()
    assert list(log.entries(since=now + timedelta(days=1))) == []
    assert list(log.entries(until=now - timedelta(days=1))) == []
    assert list(log.entries(since=now - timedelta(days=1), until=now + timedelta(days=1), after=3)) == everything[3:]


def test_a_ledger_has_one_log_and_another_ledger_another(
    connection: Connection, log: AccessLog, ledger: Stream
) -> None:
    record(log, read())
    assert len(requests(AccessLog(connection, ledger))) == 1
    assert requests(AccessLog(connection, replace(ledger, name=fresh_name("A"), prefix=fresh_name("a")))) == []
