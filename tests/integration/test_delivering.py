"""Webhooks to subscribers, from a running node to a real HTTP server: each message, in order, until it is taken."""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from api.cli.client import client_of, served
from api.node import Node
from consumers import delivering
from consumers.delivering import Delivering
from consumers.webhooks.delivery import Delivery, Refused
from consumers.webhooks.standard import check
from domain.event import utc_now
from infra import subscribers as infra_subscribers
from infra.jetstream import Bucket
from infra.jetstream.access import Access
from infra.jetstream.wire import WireClient
from infra.nats_server import EmbeddedServer
from infra.settings import Settings
from infra.subscriber import Subscriber
from infra.subscribers import Subscribers
from tests.e2e.harness import process
from tests.integration.test_feed_http import relayed, until
from tests.integration.test_http import did, get, is_problem, record, running, somebody
from tests.receiver import Posted, Receiver, receiver
from tests.views import with_empty_views

TRIES = 3


@pytest.fixture(scope="module", autouse=True)
def in_haste() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivering, "BACK_OFF_S", (0.02,) * (TRIES - 1))
        patch.setattr(delivering, "ANSWER_S", 5.0)  # no answer is late that a test does not hold up
        patch.setattr(delivering, "LOOK_EVERY_S", 0.1)
        patch.setattr(delivering, "PULL_S", 0.3)
        patch.setattr(infra_subscribers, "POST_ACK_WAIT_S", 7.0)
        patch.setenv("RAPPORT_CHECKPOINT_EVERY_S", "0")  # nothing comes onto the feed but what a test records
        yield


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with running(tmp_path_factory.mktemp("delivering")) as found:
        yield found


@pytest.fixture(scope="module")
def there() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def node(here: tuple[Node, httpx.Client]) -> Node:
    return here[0]


@pytest.fixture
def http(here: tuple[Node, httpx.Client]) -> httpx.Client:
    return here[1]


def added(http: httpx.Client, name: str, url: str, **more: Any) -> str:
    """The secret of a new subscriber."""
    document = {"name": name, "url": url, "allow_private": True, **more}
    answer = http.post("/v1/subscribers", json=document)
    assert answer.status_code == 201, answer.text
    secret: str = answer.json()["secret"]
    return secret


def happened(http: httpx.Client, count: int) -> int:
    """So many events on the feed; the position before them."""
    start = relayed(http)
    record(http, *(did("sourced", somebody(), source="ats") for _ in range(count)))
    relayed(http)
    return start


def ids_behind(http: httpx.Client, start: int) -> list[str]:
    page = get(http, "/v1/feed/events", after=start, limit=1000)
    return [event["event"]["id"] for event in page["events"]]


def shown(http: httpx.Client, name: str) -> dict[str, Any]:
    return next(s for s in get(http, "/v1/status")["feed"]["subscribers"] if s["name"] == name)


def log_of(http: httpx.Client, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get(http, f"/v1/subscribers/{name}/deliveries", limit=100)["deliveries"]
    return found


def is_proved(posted: Posted, secret: str) -> bool:
    """By what Rapport itself checks Standard Webhooks with."""
    try:
        check(Delivery(posted.headers, posted.body, utc_now()), [secret], utc_now(), "webhook")
    except Refused:
        return False
    return True


# ── in order, signed, once ──


def test_each_message_is_posted_in_order_as_it_is_on_the_feed_and_signed(
    http: httpx.Client, there: Receiver, node: Node
) -> None:
    start = happened(http, 5)
    secret = added(http, "orderly", there.answers("/orderly", 200), after=start)
    until(lambda: len(there.at("/orderly")) >= 5)
    page = get(http, "/v1/feed/events", after=start)["events"]
    assert [posted.event for posted in there.at("/orderly")] == [entry["event"] for entry in page]
    for posted, entry in zip(there.at("/orderly"), page, strict=True):
        assert posted.headers["webhook-id"] == entry["event"]["id"]
        assert posted.headers["content-type"] == "application/cloudevents+json"
        assert is_proved(posted, secret)
        assert not is_proved(posted._replace(body=posted.body + b" "), secret)
        assert not is_proved(posted, f"whsec_{base64.b64encode(b'x' * 32).decode()}")
    until(lambda: shown(http, "orderly")["lag"] == 0)
    until(lambda: len(log_of(http, "orderly")) == 5)
    logged = log_of(http, "orderly")
    assert [(d["position"], d["status"], d["attempt"]) for d in logged] == [(e["position"], 200, 1) for e in page]
    more = happened(http, 1)
    until(lambda: there.taken("/orderly")[-1:] == ids_behind(http, more))


def test_only_the_types_that_were_asked_for_are_posted(http: httpx.Client, there: Receiver) -> None:
    added(http, "picky", there.answers("/picky", 204), types=["compliance.opted_out", "candidate.tagged"])
    who = somebody()
    record(http, did("sourced", who, source="a"), did("tagged", who, tag="x"), did("opted_out", who, channel="email"))
    until(lambda: len(there.at("/picky")) == 2)
    types = [posted.event["type"] for posted in there.at("/picky")]
    assert types == ["rapport.candidate.tagged.v1", "rapport.compliance.opted_out.v1"]


# ── when it is not taken ──


@pytest.mark.parametrize(
    ("name", "answer", "status", "failure"),
    [
        ("fails", 500, 500, None),
        ("moves", (302, {"Location": "http://127.0.0.1:1/elsewhere"}), 302, None),
        ("idles", (200, 4.0), None, "timed out"),
    ],
)
def test_what_is_not_taken_is_posted_again_and_nothing_overtakes_it(
    http: httpx.Client,
    there: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    answer: Any,
    status: int | None,
    failure: str | None,
) -> None:
    """Any answer but 2xx, one that comes late, and one that leads elsewhere."""
    if failure == "timed out":
        monkeypatch.setattr(delivering, "ANSWER_S", 1.5)
    start = happened(http, 3)
    added(http, name, there.answers(f"/{name}", answer, answer, 200), after=start)
    until(lambda: len(there.at(f"/{name}")) >= 5)
    ids = ids_behind(http, start)
    assert [p.headers["webhook-id"] for p in there.at(f"/{name}")] == [ids[0], ids[0], *ids]
    until(lambda: len(log_of(http, name)) == 5)
    logged = log_of(http, name)
    assert [(d["status"], d["failure"], d["attempt"]) for d in logged[:3]] == [
        (status, failure, 1),
        (status, failure, 2),
        (200, None, 3),
    ]
    assert {d["attempt"] for d in logged[3:]} == {1}


def test_after_the_last_attempt_it_is_paused_keeps_its_place_and_goes_on_when_it_is_told_to(
    http: httpx.Client, there: Receiver
) -> None:
    start = happened(http, 2)
    added(http, "down", there.answers("/down", *[503] * TRIES, *[503] * TRIES, 200), after=start)
    for rounds in (1, 2):
        until(lambda: shown(http, "down")["paused"])
        assert "3 attempts failed (status 503)" in shown(http, "down")["paused"]
        assert len(there.at("/down")) == rounds * TRIES
        assert shown(http, "down")["lag"] == 2
        until(lambda n=rounds: len(log_of(http, "down")) == n * TRIES)
        assert http.post("/v1/subscribers/down/resume").json()["paused"] is None
    until(lambda: there.taken("/down") == ids_behind(http, start)[:2])
    until(lambda: shown(http, "down")["lag"] == 0)


def test_attempts_count_anew_since_the_last_resume_whoever_paused_it(http: httpx.Client, there: Receiver) -> None:
    """Paused by its failures, resumed, paused by an operator during an attempt and resumed: three attempts again."""
    start = happened(http, 1)
    paused = Event()
    answers = [*[503] * TRIES, (503, paused), 503]
    added(http, "uneasy", there.answers("/uneasy", *answers), after=start, types=["candidate.*"])
    until(lambda: shown(http, "uneasy")["paused"])
    assert http.post("/v1/subscribers/uneasy/resume").is_success
    until(lambda: len(there.at("/uneasy")) == TRIES + 1)
    assert http.post("/v1/subscribers/uneasy/pause").is_success
    paused.set()
    until(lambda: len(log_of(http, "uneasy")) == TRIES + 1)
    assert http.post("/v1/subscribers/uneasy/resume").is_success
    until(lambda: shown(http, "uneasy")["paused"])
    assert len(there.at("/uneasy")) == TRIES + 1 + TRIES
    until(lambda: len(log_of(http, "uneasy")) == TRIES + 1 + TRIES)
    assert [d["attempt"] for d in log_of(http, "uneasy")][-TRIES:] == [1, 2, 3]


def test_who_answers_410_is_paused_at_once(http: httpx.Client, there: Receiver) -> None:
    start = happened(http, 1)
    added(http, "gone", there.answers("/gone", 410), after=start)
    until(lambda: shown(http, "gone")["paused"])
    assert shown(http, "gone")["paused"] == "it answered 410 (gone)"
    assert len(there.at("/gone")) == 1


def test_while_it_is_paused_by_an_operator_messages_wait(http: httpx.Client, there: Receiver) -> None:
    added(http, "waits", there.answers("/waits", 200))
    assert http.post("/v1/subscribers/waits/pause").json()["paused"] == "by an operator"
    start = happened(http, 2)
    until(lambda: shown(http, "waits")["lag"] == 2)
    assert there.at("/waits") == []
    assert http.post("/v1/subscribers/waits/resume").is_success
    until(lambda: there.taken("/waits") == ids_behind(http, start)[:2])


def test_one_that_is_down_does_not_hold_up_another(http: httpx.Client, there: Receiver) -> None:
    start = happened(http, 1)
    added(http, "stuck", there.answers("/stuck", (200, 1.0)), after=start)
    added(http, "free", there.answers("/free", 200), after=start)
    until(lambda: there.taken("/free") == ids_behind(http, start)[:1])


# ── secrets ──


def test_a_new_secret_signs_beside_the_one_before_for_a_day(
    http: httpx.Client, there: Receiver, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = added(http, "rotating", there.answers("/rotating", 200))
    new = http.post("/v1/subscribers/rotating/rotate").json()["secret"]
    happened(http, 1)
    until(lambda: there.at("/rotating"))
    (posted,) = there.at("/rotating")
    assert (is_proved(posted, old), is_proved(posted, new)) == (True, True)
    assert len(posted.headers["webhook-signature"].split()) == 2
    known = node.subscribers.get("rotating")
    tomorrow = utc_now() + timedelta(hours=24, seconds=1)
    monkeypatch.setattr(infra_subscribers, "utc_now", lambda: tomorrow)
    assert node.subscribers.secrets(known) == [base64.b64decode(new.removeprefix("whsec_"))]


def test_who_cannot_be_signed_for_is_paused_with_the_way_out_and_loses_nothing(
    http: httpx.Client, there: Receiver, node: Node
) -> None:
    added(http, "damaged", there.answers("/damaged", 200))
    assert http.post("/v1/subscribers/damaged/pause").is_success
    nothing = base64.b64encode(bytes(100)).decode()

    def damaged(found: Subscriber) -> Subscriber:
        assert found.webhook is not None
        secret = found.webhook.secrets[0].model_copy(update={"sealed": nothing})
        return found.model_copy(update={"webhook": found.webhook.model_copy(update={"secrets": (secret,)})})

    node.subscribers.change("damaged", damaged)
    start = happened(http, 2)
    assert http.post("/v1/subscribers/damaged/resume").is_success
    until(lambda: "rotate" in (shown(http, "damaged")["paused"] or ""))
    added(http, "unhurt", there.answers("/unhurt", 200), after=start)
    until(lambda: len(there.at("/unhurt")) >= 2)
    assert there.at("/damaged") == []
    secret = http.post("/v1/subscribers/damaged/rotate").json()["secret"]
    assert http.post("/v1/subscribers/damaged/resume").is_success
    until(lambda: there.taken("/damaged") == ids_behind(http, start)[:2])
    assert all(is_proved(posted, secret) for posted in there.at("/damaged"))


def test_without_the_master_key_nothing_is_posted_and_no_attempt_counts(tmp_path: Path, there: Receiver) -> None:
    with running(tmp_path) as (node, http):
        added(http, "keyless", there.answers("/keyless", 503, 503, 200), types=["candidate.*"])
        node.delivering.stop()
        happened(http, 1)
        folder = node.settings.data
    key = (folder / "master.key").rename(tmp_path / "elsewhere")
    with Node(Settings(data=folder, port=0)) as node:
        until(lambda: node.delivering.failure)
        assert "master key" in str(node.delivering.failure)
        time.sleep(20 * delivering.LOOK_EVERY_S)
    assert there.at("/keyless") == []
    key.rename(folder / "master.key")
    with Node(Settings(data=folder, port=0)) as node:
        until(lambda: there.taken("/keyless"))
        assert node.delivering.failure is None
        assert len(there.at("/keyless")) == 3


def test_secrets_lie_sealed_wherever_they_lie(http: httpx.Client, there: Receiver, node: Node) -> None:
    secret = added(http, "sealed", there.answers("/sealed", 200)).removeprefix("whsec_")
    kept = Bucket(node.connection, "subscribers").get("sealed")
    assert kept is not None
    assert b"/sealed" in kept
    for form in (secret.encode(), base64.b64decode(secret)):
        assert form not in kept
        for path in node.settings.data.rglob("*"):
            assert not path.is_file() or form not in path.read_bytes(), path
    assert secret not in http.get("/v1/subscribers").text


# ── restarts, and several nodes ──


def test_a_node_that_starts_again_goes_on_where_the_subscriber_had_come_to(tmp_path: Path, there: Receiver) -> None:
    with running(tmp_path) as (node, http):
        start = happened(http, 6)
        added(http, "restarted", there.answers("/restarted", 200, 200, 500, 200), after=start, types=["candidate.*"])
        until(lambda: len(there.at("/restarted")) >= 3)
        ids, folder = ids_behind(http, start), node.settings.data
    with Node(Settings(data=folder, port=0)) as node:
        until(lambda: len(there.taken("/restarted")) >= 6)
    assert there.taken("/restarted") == ids


def test_a_node_killed_in_the_middle_of_a_delivery_leaves_it_to_be_delivered_again(
    tmp_path: Path, there: Receiver
) -> None:
    """kill -9 while the subscriber has the message and has not answered: nothing is lost, nothing overtakes it."""
    with running(tmp_path) as (node, http):
        node.delivering.stop()
        added(http, "killed", there.answers("/killed", (503, 60.0), 200), after=relayed(http), types=["candidate.*"])
        ids, folder = ids_behind(http, happened(http, 3)), node.settings.data
    with process(folder, "up", "--port", "0") as killed:
        until(lambda: there.at("/killed"))
        killed.kill()
    assert there.taken("/killed") == []
    with Node(Settings(data=folder, port=0)):
        until(lambda: len(there.taken("/killed")) >= 3)
    assert there.taken("/killed") == ids
    assert [posted.headers["webhook-id"] for posted in there.at("/killed")] == [ids[0], *ids]


@contextmanager
def another_node(node: Node) -> Iterator[Delivering]:
    """What a second node on the same ledger delivers by."""
    master = node.subscribers._master
    second = Subscribers(node.connection, node.feed, master, admit=None)
    found = Delivering(node._servers, node.connection, second, node.deliveries)
    found.start()
    try:
        yield found
    finally:
        found.stop()


def test_a_server_that_was_killed_leaves_no_subscriber_behind(
    own_server: EmbeddedServer, tmp_path: Path, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that is added while the connection of webhooks, which was the node's second, is still away.

    It comes back by itself: a second attempt beside that breaks it, or leaves two who read from one connection.
    """
    connect, connected = delivering._connect, list[float]()

    async def unhurried(client: WireClient, servers: Access) -> None:
        connected.append(time.monotonic())
        await connect(client, replace(servers, options={**servers.options, "reconnect_time_wait": 4.0}))

    monkeypatch.setattr(delivering, "_connect", unhurried)
    folder, again = with_empty_views(tmp_path / "node"), own_server.port
    settings = Settings(data=folder, port=0, min_free_mb=0, nats_url=SecretStr(own_server.url), nats_sync="unasserted")
    names = ["slow", *(f"quick-{n}" for n in range(4))]
    with Node(settings) as node, served(node) as url, client_of(url, node.settings) as http:
        start = relayed(http)
        for name in names:
            added(http, name, there.answers(f"/{name}", (200, 0.3) if name == "slow" else 200), after=start)
        record(http, *(did("sourced", somebody(), source="ats") for _ in range(3)))
        until(lambda: len(there.at("/slow")) > 0)
        assert own_server.pid is not None
        os.kill(own_server.pid, signal.SIGKILL)
        own_server.stop()
        time.sleep(0.5)
        own_server._requested_port = again
        own_server.start()
        until(lambda: node.connection.is_connected)
        names += ["late"]
        added(http, "late", there.answers("/late", 200), after=start)
        assert there.at("/late") == []
        until(lambda: not any(shown(http, name)["lag"] for name in names))
        assert node.delivering.failure is None
        assert len(connected) == 1
        expected = ids_behind(http, start)
    for name in names:
        assert list(dict.fromkeys(there.taken(f"/{name}"))) == expected, name


def test_two_nodes_deliver_each_message_once_and_in_order(http: httpx.Client, there: Receiver, node: Node) -> None:
    start = happened(http, 30)
    with another_node(node), another_node(node):
        added(http, "shared", there.answers("/shared", *[200] * 10, 500, 200), after=start)
        until(lambda: len(there.taken("/shared")) >= 30)
        until(lambda: shown(http, "shared")["lag"] == 0)
    assert there.taken("/shared") == ids_behind(http, start)[:30]


def test_who_is_removed_gets_nothing_more(http: httpx.Client, there: Receiver) -> None:
    added(http, "removed", there.answers("/removed", 200))
    happened(http, 1)
    until(lambda: len(there.at("/removed")) == 1)
    assert http.delete("/v1/subscribers/removed").is_success
    happened(http, 1)
    added(http, "behind", there.answers("/behind", 200), after=0)
    until(lambda: shown(http, "behind")["lag"] == 0)
    assert len(there.at("/removed")) == 1
    is_problem(http.delete("/v1/subscribers/removed"), 404, "unknown-subscriber")


# ── where nothing is posted ──


@pytest.mark.parametrize(
    ("url", "allow_private"),
    [
        ("http://example.com/x", False),
        ("http://example.com/x", True),
        ("http://127.0.0.1:9/x", False),
        ("https://127.0.0.1/x", False),
        ("https://localhost/x", False),
        ("https://10.1.2.3/x", False),
        ("https://169.254.169.254/latest/meta-data", False),
        ("https://[::1]/x", False),
        ("https://[::ffff:10.0.0.1]/x", False),
        ("https://[64:ff9b::a00:1]/x", False),
        ("https://2130706433/x", False),
        ("https://0x7f.1/x", False),
        ("https://no-such-name.invalid/x", True),
        ("https://user:secret@example.com/x", True),
        ("ftp://127.0.0.1/x", True),
        ("file:///etc/passwd", True),
        ("https://", True),
        ("nonsense", True),
    ],
)
def test_an_address_that_must_not_be_posted_to_is_refused(http: httpx.Client, url: str, allow_private: bool) -> None:
    asked = {"name": "nowhere", "url": url, "allow_private": allow_private}
    answer = http.post("/v1/subscribers", json=asked)
    is_problem(answer, 422, "invalid-subscriber")
    assert "secret" not in answer.text
    assert "nowhere" not in {s["name"] for s in get(http, "/v1/subscribers")["subscribers"]}
