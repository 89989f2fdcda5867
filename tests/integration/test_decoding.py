"""Messages as rows: the fast way gives what the plain way gives, event by event, whatever the messages hold."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.decoding import table_of
from domain.event import Event
from domain.upcasters import UnknownEventError
from infra import codec
from infra.crypto import sealing
from infra.crypto.keyring import Keyring
from infra.crypto.master import LocalMasterKey
from infra.crypto.sealing import SealBrokenError, new_key
from infra.jetstream import Bucket, RawMessage
from infra.jetstream.message import encode as body_of
from infra.jetstream.message import is_version
from projections.mirror import BATCH_SCHEMA
from tests.older import sealed_by_hand, stored_as, three_versions
from tests.servers import fresh_name, shared_connection
from tests.unit.histories import anything, examples, merges, pool_events, pools_created

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WITH_KEY = ("candidate-" + "a1" * 16, "candidate-" + "b2" * 16, "pool-" + "c3" * 16)
WITHOUT = "candidate-" + "d4" * 16
"""Its key was destroyed."""


@pytest.fixture(scope="module", autouse=True)
def versions() -> Iterator[None]:
    with three_versions():
        yield


@cache
def ring() -> tuple[Keyring, dict[str, bytes]]:
    """A keyring on a real bucket, and the keys that messages were sealed with."""
    bucket = Bucket(shared_connection(), fresh_name("keys"))
    keyring = Keyring(bucket, LocalMasterKey(new_key()))
    keys = keyring.make([*WITH_KEY, WITHOUT])
    bucket.delete(WITHOUT)
    keyring.forget(WITHOUT)
    return keyring, keys


# ── the plain way: a dictionary a row, times as datetimes ──────────────────────────────────────────


def plainly(messages: Sequence[RawMessage], keyring: Keyring) -> pa.Table:
    """What `table_of` promises, written for reading."""
    rows = []
    for message in messages:
        kind, _, id_ = ["", "", *message.subject.split(".")][-3:]
        name = codec.aggregate_id(kind, id_)
        rows.append(plain_row(message, name, keyring.existing([name]).get(name)))
    return pa.Table.from_pylist(rows, schema=BATCH_SCHEMA)


def plain_row(message: RawMessage, name: str, key: bytes | None) -> dict[str, Any]:
    try:
        document = orjson.loads(message.body)
    except orjson.JSONDecodeError:
        document = {}
    document = document if isinstance(document, dict) else {}
    kind, id_ = codec.split_id(name)
    version, type_ = document.get("version", 0), document.get("type", "")
    fits = is_version(version) and isinstance(type_, str)
    row = {
        "seq": message.seq,
        "recorded_at": EPOCH + timedelta(microseconds=message.time_ns // 1000),
        "kind": kind,
        "id": id_,
        "version": version if fits else 0,
        "type": type_ if fits else "",
        "v": 0,
        "public": "{}",
        "body": message.body,
    }
    try:
        if document.get("id") != name or not fits:
            raise UnknownEventError("it is not an event of the aggregate under whose subject it stands")
        opened = codec.open_newest(name, version, type_, document.get("state", {}), key)
        row["v"] = opened.v
        row["occurred_at"] = datetime.fromisoformat(opened.clear.pop("occurred_at"))
    except (UnknownEventError, SealBrokenError, KeyError, TypeError, ValueError) as error:
        return row | {"problem": f"{type(error).__name__}: {error}"}
    row["public"] = orjson.dumps(opened.clear).decode()
    row["personal"] = orjson.dumps(opened.personal).decode() if opened.personal is not None else None
    return row


# ── messages, whole and damaged ────────────────────────────────────────────────────────────────────

names = st.sampled_from([*WITH_KEY, WITHOUT])
times = st.one_of(
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.datetimes().map(lambda t: t.isoformat() + "Z"),
    st.datetimes().map(lambda t: t.isoformat(timespec="minutes") + "-23:59"),
    st.sampled_from(
        [
            *("2026-01-01", "2026-01-01T00:00:00", "20260101T000000Z", "2026-W01-1T00:00:00.000000Z", "2026-01-01 00Z"),
            *("2026-01-01T00:00:00,123456Z", "2026-01-01T00:00:00.123456789Z", "2026-01-01x00:00:00.000000Z"),
            *("2026-02-30T00:00:00Z", "0000-01-01T00:00:00.000000Z", "2026-01-01T24:00:00Z", "2026-01-01T23:59:60Z"),
            *("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "", " ", "yesterday", "٢026-01-01T00:00:00Z"),
        ]
    ),
    st.sampled_from([None, 5, 1.5, True, [], {}]),
    st.text(max_size=30),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
events = st.one_of(*anything, merges, pools_created, pool_events)


@st.composite
def whole(draw: st.DrawFn) -> tuple[str, bytes]:
    """Subject's aggregate and body of an event as Rapport writes or wrote it."""
    event: Event = draw(events)
    pool = event.type in codec.CATALOGUES["pool"]
    name = WITH_KEY[2] if pool else draw(st.sampled_from([*WITH_KEY[:2], WITHOUT]))
    v, version = draw(st.sampled_from([1, 2, 3, 3, 3])), draw(st.integers(1, 2**31 - 1))
    return name, body_of(stored_as(v, name, version, event, ring()[1][name]))


@st.composite
def by_hand(draw: st.DrawFn) -> tuple[str, bytes]:
    """What nobody but a stranger or a later Rapport would write, with a seal that fits."""
    name, v = draw(names), draw(st.sampled_from([3, 3, 3, 1, 0, 4, -1, 2**40]))
    type_ = draw(st.sampled_from(["tagged", "tagged", "created", "teleported", "", "é"]))
    clear = draw(st.dictionaries(st.text(max_size=5), values, max_size=3)) | {"occurred_at": draw(times)}
    personal: Any = draw(st.dictionaries(st.text(max_size=5), values, max_size=3) | values)
    return name, body_of(sealed_by_hand(name, draw(st.integers(0, 9)), type_, v, clear, personal, ring()[1][name]))


@st.composite
def resealed(draw: st.DrawFn) -> tuple[str, bytes]:
    """A block that opens on anything but JSON, or JSON in a form that Rapport does not write."""
    name = draw(names)
    plain = draw(st.sampled_from([b"", b"\xff", b'{"a": 1, "a" : 2}', b' {"tag":"\\u00e9"}\n', b"[1]", b"null", b"{"]))
    sealed = sealing.seal(ring()[1][name], plain, f"{name}|1|tagged|3".encode())
    event = sealed_by_hand(name, 1, "tagged", 3, {"occurred_at": "2026-01-01T00:00:00Z"}, {}, ring()[1][name])
    state = orjson.loads(event.state) | {"sealed": base64.b64encode(sealed).decode()}
    return name, b'{"id":"%b","version":1,"type":"tagged","state":%b}' % (name.encode(), orjson.dumps(state))


@st.composite
def members_changed(draw: st.DrawFn) -> tuple[str, bytes]:
    name, body = draw(whole())
    document = orjson.loads(body)
    part = draw(st.sampled_from([document, document["state"]]))
    wrong = draw(values)
    key = draw(st.sampled_from(sorted(part)))
    if part is document["state"] and key == "v" and isinstance(wrong, bool):
        wrong = None  # a case of its own, below
    if draw(st.booleans()):
        part[key] = wrong
    else:
        del part[key]
    return name, orjson.dumps(document)


@st.composite
def bytes_changed(draw: st.DrawFn) -> tuple[str, bytes]:
    name, body = draw(whole())
    at, until = sorted((draw(st.integers(0, len(body))), draw(st.integers(0, len(body)))))
    cut = body[:at] + draw(st.binary(max_size=3)) + body[draw(st.sampled_from([at, until, min(at + 1, len(body))])) :]
    return name, cut


@st.composite
def elsewhere(draw: st.DrawFn) -> tuple[str, bytes]:
    _, body = draw(whole())
    return draw(names | st.sampled_from(["", "uuid-x", "candidate-", "pool"])), body


contents = st.one_of(
    whole(), whole(), by_hand(), resealed(), members_changed(), bytes_changed(), elsewhere(),
    st.tuples(names, st.binary(max_size=40) | values.map(orjson.dumps)),
)  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> list[RawMessage]:
    found = []
    for seq, (name, body) in enumerate(draw(st.lists(contents, max_size=12)), start=1):
        kind, id_ = codec.split_id(name)
        subject = draw(st.sampled_from([f"ledger.{kind}.{id_[:2]}.{id_}"] * 9 + ["x", "", "ledger.x"]))
        found.append(RawMessage(seq, draw(st.integers(0, 2**63 - 1)), subject, body))
    return found


@given(batches())
@examples(300)
def test_rows_are_those_of_the_plain_way(messages: list[RawMessage]) -> None:
    """Of every version, valid or damaged in whatever way, key destroyed or not, times in whatever form."""
    keyring, _ = ring()
    found, expected = table_of(messages, keyring), plainly(messages, keyring)
    assert found.schema == BATCH_SCHEMA
    for name in BATCH_SCHEMA.names:
        assert found[name].combine_chunks().equals(expected[name].combine_chunks()), name


@pytest.mark.parametrize("wrong", [b'"v":true', b'"v":3,"x":' + b"[" * 600 + b"]" * 600], ids=["v", "depth"])
def test_what_cannot_be_shown_waits_and_stops_nothing(wrong: bytes) -> None:
    """A schema version that is no number; JSON that can be read and not be written."""
    keyring, _ = ring()
    state = b'{%b,"occurred_at":"2026-01-01T00:00:00Z","sealed":"AAAA"}' % wrong
    body = b'{"id":"%b","version":1,"type":"tagged","state":%b}' % (WITHOUT.encode(), state)
    kind, id_ = codec.split_id(WITHOUT)
    found = table_of([RawMessage(1, 0, f"ledger.{kind}.{id_[:2]}.{id_}", body)], keyring)
    assert found["problem"].null_count == 0
    assert found["body"].to_pylist() == [body]
    assert found["occurred_at"].null_count == found["personal"].null_count == 1
