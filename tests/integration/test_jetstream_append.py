"""Appending and selecting on a real server: conflicts, atomicity, exact bytes."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from uuid import uuid4

import pytest
from eventsourcing.persistence import DataError, IntegrityError, StoredEvent
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from infra.jetstream import (
    Connection,
    JetStreamAggregateRecorder,
    JetStreamApplicationRecorder,
    LedgerCorruptedError,
    LedgerReader,
    Stream,
    document,
)
from infra.jetstream.message import encode
from infra.jetstream.subjects import subject_of
from tests.servers import fresh_recorder, shared_server

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def candidate() -> str:
    return f"candidate-{uuid4().hex}"


def event(originator_id: object, version: int, state: bytes = b'{"a":1}', topic: str = "domain:Sourced") -> StoredEvent:
    return StoredEvent(originator_id, version, topic, state)  # type: ignore[arg-type] # ids of both kinds


def versions(recorder: JetStreamAggregateRecorder, originator_id: str) -> list[int]:
    return [stored.originator_version for stored in recorder.select_events(originator_id)]


def test_of_many_writers_of_one_version_exactly_one_wins(recorder: JetStreamApplicationRecorder) -> None:
    """16 threads on two connections, 10 rounds."""
    with Connection(shared_server().url) as second:
        recorders = [recorder, JetStreamApplicationRecorder(second, recorder.stream)]
        ids = [candidate() for _ in range(10)]
        start = Barrier(16)

        def write(number: int) -> list[bool]:
            start.wait()
            won = []
            for originator_id in ids:
                stored = event(originator_id, 1, json.dumps({"by": number}).encode())
                try:
                    recorders[number % 2].insert_events([stored])
                    won.append(True)
                except IntegrityError:
                    won.append(False)
            return won

        with ThreadPoolExecutor(16) as pool:
            results = list(pool.map(write, range(16)))
    for position, originator_id in enumerate(ids):
        winners = [number for number in range(16) if results[number][position]]
        assert len(winners) == 1
        (stored,) = recorder.select_events(originator_id)
        assert json.loads(stored.state) == {"by": winners[0]}


def test_concurrent_saves_of_several_events_never_tear(recorder: JetStreamApplicationRecorder) -> None:
    """Eight writers race to append three events to the same two aggregates: one's six events, in one piece."""
    one, two = candidate(), candidate()

    def write(number: int) -> bool:
        state = json.dumps({"by": number}).encode()
        try:
            recorder.insert_events([event(i, v, state) for v in (1, 2, 3) for i in (one, two)])
        except IntegrityError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number, won in enumerate(pool.map(write, range(8))) if won]
    assert len(winners) == 1
    stored = [*recorder.select_events(one), *recorder.select_events(two)]
    assert [json.loads(s.state)["by"] for s in stored] == winners * 6
    assert recorder.max_notification_id() == 6


def test_one_stale_aggregate_keeps_the_whole_batch_out(recorder: JetStreamApplicationRecorder) -> None:
    fresh, stale = candidate(), candidate()
    with Connection(shared_server().url) as second:
        other = JetStreamApplicationRecorder(second, recorder.stream)
        recorder.insert_events([event(stale, 1)])
        other.insert_events([event(stale, 2)])
        with pytest.raises(IntegrityError):
            recorder.insert_events([event(fresh, 1), event(fresh, 2), event(stale, 2)])
    assert versions(recorder, fresh) == []
    assert recorder.max_notification_id() == 2


def test_a_writer_follows_what_another_process_wrote(recorder: JetStreamApplicationRecorder) -> None:
    """A remembered head that others have moved on from is no reason to refuse the right version."""
    originator_id = candidate()
    with Connection(shared_server().url) as second:
        other = JetStreamApplicationRecorder(second, recorder.stream)
        recorder.insert_events([event(originator_id, 1)])
        other.insert_events([event(originator_id, 2)])
        assert recorder.insert_events([event(originator_id, 3)]) == [3]
        assert other.insert_events([event(originator_id, 4), event(originator_id, 5)]) == [4, 5]


def test_versions_may_begin_at_zero(recorder: JetStreamApplicationRecorder) -> None:
    originator_id = candidate()
    with Connection(shared_server().url) as second:
        recorder.insert_events([event(originator_id, 0)])
        unaware = JetStreamApplicationRecorder(second, recorder.stream)
        assert unaware.insert_events([event(originator_id, 1)]) == [2]


@pytest.mark.parametrize("versions_given", [[2], [4], [1], [3, 5], [3, 3]])
def test_a_version_that_does_not_follow_is_refused(
    recorder: JetStreamApplicationRecorder, versions_given: list[int]
) -> None:
    originator_id = candidate()
    recorder.insert_events([event(originator_id, 1), event(originator_id, 2)])
    with pytest.raises(IntegrityError):
        recorder.insert_events([event(originator_id, version) for version in versions_given])
    assert versions(recorder, originator_id) == [1, 2]


def test_snapshots_may_skip_versions_and_never_go_back(connection: Connection, stream: Stream) -> None:
    recorder = JetStreamAggregateRecorder(connection, stream, purpose="snapshots")
    originator_id = candidate()
    for version in (5, 9, 30):
        recorder.insert_events([event(originator_id, version)])
    for version in (30, 12):
        with pytest.raises(IntegrityError):
            recorder.insert_events([event(originator_id, version)])
    assert versions(recorder, originator_id) == [5, 9, 30]
    (last,) = recorder.select_events(originator_id, desc=True, limit=1)
    assert last.originator_version == 30
    (before,) = recorder.select_events(originator_id, desc=True, limit=1, lte=29)
    assert before.originator_version == 9


def test_a_thousand_events_fit_one_append_and_more_are_refused(recorder: JetStreamApplicationRecorder) -> None:
    originator_id = candidate()
    with pytest.raises(DataError, match="at most 1,000 events"):
        recorder.insert_events([event(originator_id, version) for version in range(1, 1002)])
    seqs = recorder.insert_events([event(originator_id, version) for version in range(1, 1001)])
    assert seqs == list(range(1, 1001))
    assert versions(recorder, originator_id) == list(range(1, 1001))


def test_an_event_over_the_servers_limit_is_refused_in_a_sentence(recorder: JetStreamApplicationRecorder) -> None:
    originator_id = candidate()
    with pytest.raises(DataError, match=r"version 1 of .* bytes, over the server's limit of 8,388,608"):
        recorder.insert_events([event(originator_id, 1, b"x" * 9_000_000)])
    assert recorder.max_notification_id() is None


class TestInsertMany:
    """The bulk path gives each group its own outcome."""

    def test_every_group_has_its_seqs(self, recorder: JetStreamApplicationRecorder) -> None:
        groups = [[event(i, v) for v in range(1, 4)] for i in [candidate() for _ in range(900)]]
        outcomes = recorder.insert_many(groups)
        found = {n.id: n for n in recorder.select_notifications(1, 2700)}
        for group, outcome in zip(groups, outcomes, strict=True):
            assert not isinstance(outcome, Exception)
            assert [found[seq].originator_version for seq in outcome] == [1, 2, 3]
            assert {found[seq].originator_id for seq in outcome} == {group[0].originator_id}

    def test_only_the_groups_in_conflict_fail(self, recorder: JetStreamApplicationRecorder) -> None:
        ids = [candidate() for _ in range(300)]
        taken = set(ids[::7])
        for originator_id in taken:
            recorder.insert_events([event(originator_id, 1, b'{"first":true}')])
        with Connection(shared_server().url) as second:
            unaware = JetStreamApplicationRecorder(second, recorder.stream)
            outcomes = unaware.insert_many([[event(i, 1), event(i, 2)] for i in ids])
        for originator_id, outcome in zip(ids, outcomes, strict=True):
            assert isinstance(outcome, IntegrityError) == (originator_id in taken)
            assert versions(recorder, originator_id) == ([1] if originator_id in taken else [1, 2])

    def test_groups_of_one_aggregate_keep_their_order(self, recorder: JetStreamApplicationRecorder) -> None:
        originator_id = candidate()
        outcomes = recorder.insert_many([[event(originator_id, v), event(candidate(), 1)] for v in range(1, 2001)])
        assert not any(isinstance(outcome, Exception) for outcome in outcomes)
        assert versions(recorder, originator_id) == list(range(1, 2001))

    def test_a_stale_group_does_not_take_its_followers_down(self, recorder: JetStreamApplicationRecorder) -> None:
        originator_id = candidate()
        recorder.insert_events([event(originator_id, 1)])
        outcomes = recorder.insert_many([[event(originator_id, 1)], [event(originator_id, 2)], []])
        assert isinstance(outcomes[0], IntegrityError)
        assert outcomes[1:] == [[2], []]

    def test_what_cannot_be_stored_fails_alone(self, recorder: JetStreamApplicationRecorder) -> None:
        one, two = candidate(), candidate()
        outcomes = recorder.insert_many(
            [[event(one, v) for v in range(1, 1002)], [event(two, 1)], [event(one, 2), event(one, 4)]]
        )
        assert [type(outcome) for outcome in outcomes] == [DataError, list, type(outcomes[2])]
        assert isinstance(outcomes[2], IntegrityError)
        assert recorder.max_notification_id() == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(
    st.binary(max_size=300)
    | st.dictionaries(st.text(), st.integers() | st.text() | st.floats(), max_size=4).map(
        lambda d: json.dumps(d).encode()
    )
    | st.sampled_from(
        [b'{"a":1 }', b" {}", b"{}", b'{"state":1,"state":2}', b'{"x":"}"}', b"{", b"{'a'}", b'{"\\u0000":NaN}']
    ),
    st.text(max_size=40),
    st.text(max_size=20),
)
@example(b"{}", ',"state":', "")
@example(b'{"a":"\xff"}', '","state":{}}', ',"state":')
def test_state_and_type_come_back_byte_for_byte(state: bytes, topic: str, name: str) -> None:
    recorder = _shared_recorder()
    stored = event(f"{name}/{uuid4()}", 1, state, topic)
    assert recorder.insert_events([stored]) is not None
    assert recorder.select_events(stored.originator_id) == [stored]


_recorders: list[JetStreamApplicationRecorder] = []


def _shared_recorder() -> JetStreamApplicationRecorder:
    if not _recorders:
        _recorders.append(fresh_recorder())
    return _recorders[0]


def test_the_body_is_one_json_document(recorder: JetStreamApplicationRecorder) -> None:
    stored = event(candidate(), 7, b'{"n": [1, 2]}', 'a "topic"')
    assert document(encode(stored)) == {
        "id": stored.originator_id,
        "version": 7,
        "type": 'a "topic"',
        "state": {"n": [1, 2]},
    }


def test_stored_headers_are_the_protocols_and_nothing_else(
    recorder: JetStreamApplicationRecorder, connection: Connection
) -> None:
    """Nothing about anybody is in a header or a subject."""
    originator_id = candidate()
    recorder.insert_events([event(originator_id, 1, b'{"name":"Ada"}')])
    recorder.insert_events([event(originator_id, 2, b'{"name":"Ada"}'), event(originator_id, 3, b'{"name":"Ada"}')])
    names = []
    for seq in (1, 2, 3):
        message = connection.call(connection.api(f"STREAM.MSG.GET.{recorder.stream.name}", {"seq": seq}))["message"]
        assert message["subject"] == subject_of(recorder.stream.prefix, originator_id)
        lines = base64.b64decode(message["hdrs"]).decode().splitlines()
        assert lines[0] == "NATS/1.0"
        names.append({line.partition(":")[0] for line in lines[1:] if line})
    assert names[0] == {"Nats-Expected-Last-Subject-Sequence"}
    assert names[1] == {"Nats-Expected-Last-Subject-Sequence", "Nats-Batch-Id", "Nats-Batch-Sequence"}
    assert names[2] == {"Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"}


def test_a_lost_event_is_noticed_on_reading(recorder: JetStreamApplicationRecorder, connection: Connection) -> None:
    originator_id = candidate()
    recorder.insert_events([event(originator_id, v) for v in (1, 2, 3)])
    connection.call(connection.api(f"STREAM.MSG.DELETE.{recorder.stream.name}", {"seq": 2}))
    with pytest.raises(LedgerCorruptedError, match="version 3 stands behind version 1") as caught:
        recorder.select_events(originator_id)
    assert caught.value.seq == 3
    assert caught.value.subject == subject_of(recorder.stream.prefix, originator_id)


def test_a_foreign_event_is_noticed_on_reading(recorder: JetStreamApplicationRecorder, connection: Connection) -> None:
    mine, theirs = candidate(), candidate()
    subject = subject_of(recorder.stream.prefix, mine)
    connection.call(connection.request(subject, encode(event(theirs, 1))))
    with pytest.raises(LedgerCorruptedError, match="belongs to"):
        recorder.select_events(mine)


@pytest.mark.parametrize("least_s", [-1.0, 60.0], ids=["sifted from the log", "one by one"])
def test_many_aggregates_are_read_at_once_with_place_and_time(
    recorder: JetStreamApplicationRecorder, monkeypatch: pytest.MonkeyPatch, least_s: float
) -> None:
    monkeypatch.setattr("infra.jetstream.histories.LEAST_S", least_s)
    ids = [candidate() for _ in range(200)]
    started = datetime.now(UTC)
    recorder.insert_many([[event(originator_id, v) for v in (1, 2)] for originator_id in ids])
    reader = LedgerReader(recorder.connection, recorder.stream)
    times = {m.seq: m.time_ns // 1000 for batch in reader.read_batches(0) for m in batch}
    unknown = candidate()
    histories = recorder.read_many([*ids, unknown])
    assert histories.pop() == []
    for originator_id, history in zip(ids, histories, strict=True):
        assert [stored for _, stored in history] == recorder.select_events(originator_id)
        for message, _ in history:
            assert (message.recorded_at - EPOCH) // timedelta(microseconds=1) == times[message.seq]
            assert abs(message.recorded_at - started) < timedelta(minutes=1)
    assert recorder.read_many([]) == []


def test_erased_events_are_gone_and_the_rest_stays(recorder: JetStreamApplicationRecorder) -> None:
    gone, kept = candidate(), candidate()
    recorder.insert_events([event(gone, 1), event(kept, 1), event(gone, 2)])
    assert recorder.erase_events(gone) == 2
    assert recorder.erase_events(gone) == 0
    assert versions(recorder, gone) == []
    assert [n.id for n in recorder.select_notifications(None, 10)] == [2]
