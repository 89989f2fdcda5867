"""The door's login on a real nats-server: it puts deliveries into the queue and can do nothing else there."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import OperationalError

from api.intake import Intake
from api.node import Node
from infra import ingest_seals
from infra.crypto.keyring import Keyring
from infra.crypto.master import master_key
from infra.crypto.sealing import DamagedKey, SealBrokenError
from infra.ingest import DOOR_API, Inlet, inlet_of_door
from infra.ingest_seals import LENT_FOR_S, DayKey, LentKey, Taken
from infra.jetstream import Connection
from infra.jetstream.stream import get_message
from infra.nats_config import logins
from infra.settings import Settings
from tests.integration.test_feed_http import until
from tests.integration.test_subscribers import STREAMS, stored
from tests.subscriber import Client, logged_in

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)

DENIED = [
    *(
        f"{prefix}.STREAM.{verb}.{name}"
        for prefix in ("$JS.API", DOOR_API)
        for verb in ("INFO", "PURGE", "DELETE", "MSG.GET", "MSG.DELETE")
        for name in (*STREAMS, "KV_ingest_keys", "INGEST_DEAD")
    ),
    *(f"$JS.API.DIRECT.GET.{name}" for name in (*STREAMS, "KV_ingest_keys")),
    f"{DOOR_API}.STREAM.MSG.DELETE.INGEST_SEEN",
    f"{DOOR_API}.CONSUMER.MSG.NEXT.INGEST.ingest",
    "$JS.API.CONSUMER.MSG.NEXT.INGEST.ingest",
    "$JS.API.CONSUMER.CREATE.INGEST.x",
    "$JS.API.STREAM.CREATE.X",
    "$JS.API.INFO",
    "$JS.ACK.INGEST.ingest.1.1.1.1.0",
    "ledger.candidate.ff.x",
    "feed.candidate.sourced",
    "access.x",
    "ingest_dead.letter.x",
    "$KV.keys.pepper",
    "$KV.ingest_keys.queue.2026-03-01",
    "_INBOX.somebody.else",
    "$SYS.REQ.SERVER.PING",
    ">",
]
UNHEARD = ["ingest.>", "ledger.>", "feed.>", "$KV.>", "$JS.>", "$SYS.>", "*", ">", "_R_.>", "DOOR.API.>"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    data = tmp_path_factory.mktemp("door") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAPPORT_CHECKPOINT_EVERY_S", "0")
        with Node(Settings.embedded(data)) as found:
            found.intake._ingest.stop()  # what is put into the queue stays there
            yield found


def url(node: Node) -> str:
    assert node.server is not None
    return node.server.door_url


def key_of(node: Node) -> DayKey:
    key = node.intake.key_of_today_if_any()
    assert key is not None
    return key


@contextmanager
def inlet(node: Node) -> Iterator[tuple[Connection, Inlet]]:
    """As a door has it."""
    key = LentKey()
    key.lend(key_of(node))
    with Connection(url(node), jetstream=False, api_prefix=DOOR_API) as connection:
        yield connection, inlet_of_door(connection, key)


def as_door(node: Node, what: Callable[[Client], Any]) -> None:
    async def connected() -> None:
        async with logged_in(url(node)) as client:
            await what(client)

    asyncio.run(connected())


def test_what_the_door_puts_into_the_queue_the_node_can_open(node: Node) -> None:
    taken = Taken("postmark", AT, {"x-note": "kept"}, b'{"RecordType": "Open"}')
    with inlet(node) as (connection, door):
        connection.call(door.store("postmark", door.sealed(taken)))
    lying = node.connection.call(get_message(node.connection, node.intake.queue.stream, last_by_subj="ingest.postmark"))
    assert lying is not None
    assert node.intake.queue.open("postmark", lying.body) == taken


def test_what_a_door_puts_into_the_queue_is_a_delivery_whatever_it_says_of_itself(node: Node) -> None:
    """What is recorded without being read as a provider's comes from a node, and is sealed as by one."""
    forged = Taken("postmark", AT, {}, b'[{"type": "restriction_lifted"}]', records=True)
    with inlet(node) as (_, door):
        sealed = door.sealed(forged)
    for forgery in (sealed, b"+" + sealed):
        with pytest.raises(SealBrokenError):
            node.intake.queue.open("postmark", forgery)
    node.intake.queue.put(forged)
    lying = node.connection.call(get_message(node.connection, node.intake.queue.stream, last_by_subj="ingest.postmark"))
    assert lying is not None
    assert node.intake.queue.open("postmark", lying.body) == forged


def test_no_key_is_lent_that_is_destroyed_in_the_same_breath_or_is_damaged(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is set by the server's before the day is asked for: a machine that was held up may lie days behind."""
    at, *clocks = node.intake._seals.clock._set
    node.intake._seals.clock._set = at - timedelta(days=3), *clocks
    name = key_of(node).name
    assert name == f"queue.{datetime.now(UTC).date().isoformat()}"
    monkeypatch.setattr(Keyring, "make", lambda *_: {name: DamagedKey("damaged")})
    assert node.intake.key_of_today_if_any() is None


def test_what_was_seen_at_the_door_is_known_there_and_to_the_node(node: Node) -> None:
    token = uuid4().hex
    with inlet(node) as (connection, door):
        assert connection.call(door.is_used("mailgun", token, "this")) is False
        assert connection.call(door.is_used("mailgun", token, "this")) is False
        assert connection.call(door.is_used("mailgun", token, "that")) is True
    of_node = node.intake.queue.inlet
    assert node.connection.call(of_node.is_used("mailgun", token, "that")) is True


def test_the_door_may_do_nothing_else(node: Node) -> None:
    """It reads no delivery, no key and no event, writes nowhere else and hears nothing, whatever its process does."""
    before = stored(node)

    async def tries(client: Client) -> None:
        assert not await client.is_refused(f"{DOOR_API}.STREAM.MSG.GET.INGEST_SEEN"), "this it may"
        assert [subject for subject in DENIED if not await client.is_refused(subject, b"{}")] == []
        assert [subject for subject in UNHEARD if not await client.is_deaf_to(subject)] == []

    as_door(node, tries)
    assert stored(node) == before


@pytest.mark.parametrize(
    "into", ["ledger.candidate.ff.injected", "feed.candidate.sourced", "$KV.keys.pepper", "access.x"]
)
def test_no_answer_to_the_door_lands_in_a_stream(node: Node, into: str) -> None:
    """A request names the subject of its answer, for which the server asks no permission."""
    before = stored(node)

    async def asks(client: Client) -> None:
        noted = f"ingest_seen.postmark.{uuid4().hex}"
        for subject in ("ingest.postmark", noted, f"{DOOR_API}.STREAM.MSG.GET.INGEST_SEEN"):
            await client.publish(subject, b"{}", reply=into)
        await client.flush()
        assert await client.answer(f"{DOOR_API}.STREAM.MSG.GET.INGEST_SEEN", b"{}") is not None  # after those before

    as_door(node, asks)
    after = stored(node)
    assert {name for name in after if after[name] != before[name]} == {"INGEST", "INGEST_SEEN"}


def test_a_folder_of_before_the_door_had_a_login_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "nats-login.json"
    path.write_text(json.dumps({"user": "rapport", "password": "as it was"}), "utf-8")
    found = logins(path)
    assert found["password"] == "as it was"  # noqa: S105 - nobody's
    assert found["door_user"] == "door"
    assert logins(path) == found


def test_a_lent_key_ends_when_it_was_not_lent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sealed under a key that may have been destroyed meanwhile would be lost: it is refused, and the provider
    sends it again. Neither sleep of the machine nor a clock set back makes a key younger.
    """
    key, taken = LentKey(), Taken("postmark", AT, {}, b"{}")
    with pytest.raises(OperationalError, match="which key"):
        key.seal(taken)
    key.lend(DayKey("queue.2026-03-01", bytes(32), time.monotonic(), time.time()))
    assert key.seal(taken).startswith(b"2026-03-01")
    clocks = {"time": time.time(), "monotonic": time.monotonic()}
    for clock, now in clocks.items():
        with monkeypatch.context() as patch:
            patch.setattr(ingest_seals.time, clock, lambda now=now: now + LENT_FOR_S + 1)
            assert not key.is_good
            with pytest.raises(OperationalError, match="which key"):
                key.seal(taken)
    assert key.is_good
    key.lend(DayKey("queue.2026-03-01", bytes(32), time.monotonic(), time.time() - LENT_FOR_S))
    assert not key.is_good, "it was on its way for so long"


def test_the_key_of_the_day_is_told_again_and_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a time or two it could not be said: a door that hears of none for long takes no deliveries."""
    monkeypatch.setattr("api.intake.LEND_EVERY_S", 0.01)
    told = list[DayKey]()

    def lend(key: DayKey) -> None:
        told.append(key)
        if len(told) < 3:
            raise OperationalError("not now")

    master = master_key(None, node.settings.master_key_file, node.keyring.master_key_id)
    intake = Intake(node.settings, node.connection, node._servers, master, node.recording, lend=lend)
    intake.start()
    try:
        until(lambda: len(told) > 5)
    finally:
        intake.stop()
    assert {key[:2] for key in told} == {key_of(node)[:2]}
    assert [key.monotonic_s for key in told] == sorted({key.monotonic_s for key in told}), "each says when it was known"
