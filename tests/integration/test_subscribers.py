"""Subscribers of the feed on a real nats-server: what a login may do, and that it may do nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import nats.errors
import pytest

from api.cli.client import client_of
from api.cli.subscribers import python_of
from api.http.roles import Role
from api.http.subscribers import LEDGER_ACCOUNT, described
from api.node import Node
from infra import nats_server
from infra.feed_access import API
from infra.jetstream import Connection, LedgerReader, declare_stream
from infra.jetstream.nkey import Nkey
from infra.nats_config import ACCOUNT, NAMELESS
from infra.nats_server import EmbeddedServer, ServerStartError
from infra.settings import Settings
from tests.cluster import Process, free_ports
from tests.e2e.harness import ok
from tests.integration.test_feed_http import until
from tests.integration.test_http import did, get, is_problem, record, running, somebody
from tests.subscriber import Client, logged_in, running_as

DOCS = Path(__file__).parents[2] / "docs" / "subscribers.md"
STREAMS = ("LEDGER", "FEED", "ACCESS", "KV_keys", "KV_claims", "KV_subscribers", "INGEST")


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Nothing comes onto the feed but what a test records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAPPORT_CHECKPOINT_EVERY_S", "0")
        yield


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with running(tmp_path_factory.mktemp("subscribers")) as found:
        record(found[1], *(did(t, somebody(), source="ats") for t in ["sourced"] * 3))
        yield found


@pytest.fixture
def node(here: tuple[Node, httpx.Client]) -> Node:
    return here[0]


@pytest.fixture
def http(here: tuple[Node, httpx.Client]) -> httpx.Client:
    return here[1]


def added(http: httpx.Client, name: str, **more: Any) -> dict[str, Any]:
    answer = http.post("/v1/subscribers", json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def shown(http: httpx.Client, name: str) -> dict[str, Any]:
    return next(s for s in get(http, "/v1/status")["feed"]["subscribers"] if s["name"] == name)


def as_subscriber(made: dict[str, Any], what: Callable[[Client], Any]) -> Any:
    async def connected() -> Any:
        async with logged_in(made["servers"], made["secret"]) as client:
            return await what(client)

    return asyncio.run(connected())


def is_let_in(made: dict[str, Any]) -> bool:
    async def nothing(_client: Client) -> None:
        pass

    try:
        as_subscriber(made, nothing)
    except (nats.errors.Error, OSError):
        return False
    return True


def shown_servers(node: Node) -> str:
    assert node.server is not None
    return f"nats://127.0.0.1:{node.server.port}"


def stored(node: Node) -> dict[str, int]:
    """The last position of every stream there is."""
    listed = node.connection.call(node.connection.read_api("STREAM.LIST"))["streams"]
    return {stream["config"]["name"]: stream["state"]["last_seq"] for stream in listed}


def at_rest(node: Node, http: httpx.Client) -> dict[str, int]:
    until(lambda: get(http, "/v1/status")["feed"]["lag_events"] == 0)
    return {name: seq for name, seq in stored(node).items() if not name.startswith(("ACCESS", "KV_answers"))}


# ── what it may ──


def test_a_subscriber_pulls_in_order_goes_on_where_it_acknowledged_and_shows_its_lag(
    node: Node, http: httpx.Client
) -> None:
    last = at_rest(node, http)["FEED"]
    made = added(http, "reads", after=0)
    assert (shown(http, "reads")["lag"], shown(http, "reads")["seen_at"]) == (last, None)
    assert as_subscriber(made, lambda c: c.take("reads", 2)) == [1, 2]
    until(lambda: shown(http, "reads")["acknowledged"] == 2)
    assert (shown(http, "reads")["lag"], shown(http, "reads")["seen_at"] is None) == (last - 2, False)
    assert as_subscriber(made, lambda c: c.take("reads", last - 2)) == list(range(3, last + 1))


def test_it_gets_the_types_that_it_asked_for_and_what_comes_after_its_start(node: Node, http: httpx.Client) -> None:
    start = at_rest(node, http)["FEED"]
    made = added(http, "opt-outs", types=["compliance.>"])
    who = somebody()
    record(http, did("sourced", who, source="ats"), did("opted_out", who, channel="email"))
    (position,) = as_subscriber(made, lambda c: c.take("opt-outs", 1))
    assert position > start
    assert as_subscriber(made, lambda c: c.answer(f"{API}.CONSUMER.INFO.FEED.opt-outs")) is not None


def test_status_and_metrics_have_a_line_for_it(http: httpx.Client) -> None:
    added(http, "measured", after=0)
    lag = shown(http, "measured")["lag"]
    assert f'rapport_subscriber_lag_messages{{subscriber="measured"}} {float(lag)}' in http.get("/metrics").text


# ── what it may not ──

DENIED = [
    *(
        f"$JS.API.STREAM.{verb}.{name}"
        for verb in ("INFO", "PURGE", "DELETE", "MSG.GET", "MSG.DELETE")
        for name in STREAMS
    ),
    *(f"$JS.API.DIRECT.GET.{name}" for name in STREAMS),
    *(f"$JS.API.CONSUMER.{verb}.FEED.{name}" for verb in ("CREATE", "DELETE", "INFO") for name in ("mallory", "other")),
    *(f"{API}.CONSUMER.{verb}.FEED.other" for verb in ("INFO", "MSG.NEXT", "RESET", "CREATE", "DELETE")),
    f"{API}.CONSUMER.DELETE.FEED.mallory",
    f"{API}.STREAM.INFO.FEED",
    "$JS.API.CONSUMER.CREATE.LEDGER.x",
    "$JS.API.CONSUMER.LIST.FEED",
    "$JS.API.CONSUMER.PAUSE.FEED.other",
    "$JS.API.STREAM.CREATE.X",
    "$JS.API.INFO",
    "$JS.ACK.FEED.other.1.1.1.1.0",
    "feed.candidate.sourced",
    "ledger.candidate.ff.x",
    "ingest.postmark",
    "$KV.keys.pepper",
    "$KV.subscribers.other",
    "_INBOX.somebody.else",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.RAPPORT.CONNZ",
    ">",
]
UNHEARD = ["feed.>", "ledger.>", "$KV.>", "$JS.>", "$SYS.>", "*", ">", "_R_.>", "FEED.API.>"]


def may_nothing_else(made: dict[str, Any]) -> None:
    """Everything is refused in as many words, and nothing is heard of others."""

    async def tries(client: Client) -> None:
        assert not await client.is_refused(f"{API}.CONSUMER.INFO.FEED.{made['name']}"), "its own consumer it may"
        assert [subject for subject in DENIED if not await client.is_refused(subject, b"{}")] == []
        assert [subject for subject in UNHEARD if not await client.is_deaf_to(subject)] == []

    as_subscriber(made, tries)


def test_whatever_is_not_its_own_consumer_is_refused(node: Node, http: httpx.Client) -> None:
    made = added(http, "mallory", after=0)
    added(http, "other", after=0)
    before = at_rest(node, http)
    may_nothing_else(made)
    assert at_rest(node, http) == before
    assert shown(http, "other")["lag"] == before["FEED"]


@pytest.mark.parametrize(
    "into",
    [
        "ledger.candidate.ff.injected",
        "feed.candidate.sourced",
        "$KV.keys.pepper",
        "$KV.subscribers.other",
        "access.x",
        "ingest.postmark",
        "$JS.API.STREAM.DELETE.FEED",
        "$JS.API.CONSUMER.DELETE.FEED.victim",
        "$JS.ACK.FEED.victim.1.1.1.1.0",
    ],
)
def test_no_answer_to_it_lands_in_a_stream_or_does_anything(node: Node, http: httpx.Client, into: str) -> None:
    """A request names the subject of its answer, for which the server asks no permission."""
    if "victim" not in {s["name"] for s in get(http, "/v1/status")["feed"]["subscribers"]}:
        added(http, "victim", after=0)
    name = f"answers-{abs(hash(into)) % 10**6}"
    made = added(http, name, after=0)
    before = at_rest(node, http)

    async def asks(client: Client) -> None:
        for subject, body in (
            (f"{API}.CONSUMER.INFO.FEED.{name}", b""),
            (f"{API}.CONSUMER.MSG.NEXT.FEED.{name}", b'{"batch": 2}'),
            (f"$JS.ACK.FEED.{name}.1.1.1.1.0", b""),
            (f"$JS.ACK.FEED.{name}.1.1.1.1.0", b"+NXT"),
            (f"{API}.CONSUMER.RESET.FEED.{name}", b""),
        ):
            await client.publish(subject, body, reply=into)
        await client.flush()
        assert await client.answer(f"{API}.CONSUMER.INFO.FEED.{name}") is not None  # so those before were looked at

    as_subscriber(made, asks)
    assert at_rest(node, http) == before
    victim = shown(http, "victim")
    assert (victim["lag"], victim["acknowledged"]) == (before["FEED"], 0)


def test_inside_the_ledgers_account_an_answer_does_land_in_the_ledger(tmp_path: Path) -> None:
    """Which is why each subscriber has an account of its own. Should this fail one day, permissions would do."""
    with EmbeddedServer(tmp_path / "nats") as server, Connection(server.url) as connection:
        ledger = declare_stream(connection)
        connection.call(connection.api("CONSUMER.CREATE.LEDGER.c", {"stream_name": "LEDGER", "config": {"name": "c"}}))
        request = connection.send("$JS.API.CONSUMER.INFO.LEDGER.c", b"", b"", "ledger.candidate.ff.injected")
        connection.call(request)
        until(lambda: LedgerReader(connection, ledger).last_seq() == 1)


def test_two_subscribers_hear_nothing_of_each_other(http: httpx.Client) -> None:
    here_, there = added(http, "here", after=0), added(http, "there", after=0)

    async def both() -> None:
        async with (
            logged_in(here_["servers"], here_["secret"]) as one,
            logged_in(there["servers"], there["secret"]) as two,
        ):
            heard = await two.subscribe("_INBOX.>")
            assert await one.take("here", 2) == [1, 2]
            await two.flush()
            assert heard.pending_msgs == 0

    asyncio.run(both())


# ── coming and going ──


def test_a_new_key_ends_the_one_before_and_nobody_else_is_disturbed(node: Node, http: httpx.Client) -> None:
    first, staying = added(http, "rotates"), added(http, "stays", after=0)
    breaks = node.connection.breaks

    async def meanwhile(client: Client) -> None:
        second = (await asyncio.to_thread(http.post, "/v1/subscribers/rotates/rotate")).json()
        assert second["secret"] != first["secret"]
        assert not await asyncio.to_thread(is_let_in, first)
        assert await asyncio.to_thread(is_let_in, second | {"servers": first["servers"]})
        removed = await asyncio.to_thread(http.delete, "/v1/subscribers/rotates")
        assert removed.json() == {"removed": "rotates"}
        assert not await asyncio.to_thread(is_let_in, second)
        assert await client.take("stays", 1) == [1]

    as_subscriber(staying, meanwhile)
    assert node.connection.breaks == breaks
    is_problem(http.get("/v1/subscribers/rotates/deliveries"), 404, "unknown-subscriber")
    assert "rotates" not in {s["name"] for s in get(http, "/v1/subscribers")["subscribers"]}
    assert added(http, "rotates")["name"] == "rotates"


def test_what_is_kept_of_a_key_is_its_public_half_in_files_for_the_owner_only(node: Node, http: httpx.Client) -> None:
    made = added(http, "secretive")
    kept = node.settings.data / "nats" / "subscribers.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(kept.read_bytes())["secretive"] == made["nkey"] == Nkey.read(made["secret"]).public
    seed = made["secret"].encode()
    for path in node.settings.data.rglob("*"):
        if path.is_file():
            assert seed not in path.read_bytes(), path


def test_logins_and_places_outlast_a_restart_and_the_file_of_logins(tmp_path: Path) -> None:
    with running(tmp_path) as (node, http):
        record(http, *(did("sourced", somebody(), source="ats") for _ in range(3)))
        made = added(http, "durable", after=0)
        until(lambda: shown(http, "durable")["lag"] >= 3)
        assert as_subscriber(made, lambda c: c.take("durable", 1)) == [1]
        folder = node.settings.data
    for lose in (False, True):
        if lose:
            (folder / "nats" / "subscribers.json").unlink()
        with Node(Settings(data=folder, port=0)) as node:
            assert node.server is not None
            found = made | {"servers": f"nats://127.0.0.1:{node.server.port}"}
            assert as_subscriber(found, lambda c: c.take("durable", 1)) == [3 if lose else 2]


def test_places_outlast_that_the_feed_is_restored_and_a_consumer_that_is_not_its_own_stops_no_node(
    tmp_path: Path,
) -> None:
    """A stream that was restored may be of another birth: where somebody has come to stands in his consumer."""
    with running(tmp_path) as (node, http):
        record(http, *(did("sourced", somebody(), source="ats") for _ in range(5)))
        until(lambda: node.feed.extent().last_seq >= 5)
        made = added(http, "restored", after=2)
        assert as_subscriber(made, lambda c: c.take("restored", 1)) == [3]
        node.subscribers.change("restored", lambda s: s.model_copy(update={"feed": "2026-01-01T00:00:00Z"}))
        added(http, "taken", after=0)
        api, place = node.connection.api, f"{node.feed.stream.name}.taken"
        config = {"durable_name": "taken", "name": "taken", "deliver_policy": "all", "ack_policy": "explicit"}
        node.connection.call(api(f"CONSUMER.DELETE.{place}"))
        request = {"stream_name": node.feed.stream.name, "config": config}
        node.connection.call(api(f"CONSUMER.CREATE.{place}", request))
        folder = node.settings.data
    with Node(Settings(data=folder, port=0)) as node:
        assert node.server is not None
        found = made | {"servers": f"nats://127.0.0.1:{node.server.port}"}
        assert as_subscriber(found, lambda c: c.take("restored", 1)) == [4]
        (trouble,) = node.subscribers.settle()
        assert "the consumer taken" in trouble


def test_the_streams_of_an_older_folder_move_into_the_named_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = re.sub(
        r"accounts \{\{.*?\n\}\}\n",
        "authorization {{ users: [ {{ user: {user}, password: {password} }} ] }}\n"
        "accounts {{ $SYS {{ users: [ {{ user: {system_user}, password: {system_password} }} ] }} }}\n",
        nats_server.CONFIG,
        flags=re.DOTALL,
    )
    with monkeypatch.context() as patch:
        patch.setattr(nats_server, "CONFIG", older)
        patch.setattr(nats_server, "name_account", lambda _: None)
        with EmbeddedServer(tmp_path) as server, Connection(server.url) as connection:
            stream = declare_stream(connection)
            connection.call(connection.request("ledger.candidate.ff.x", b"kept"))
            assert (server.store_dir / NAMELESS / "streams" / "LEDGER").is_dir()
    for _ in range(2):
        with EmbeddedServer(tmp_path) as server, Connection(server.url) as connection:
            assert [m.body for b in LedgerReader(connection, stream).read_batches() for m in b] == [b"kept"]
            assert (server.store_dir / ACCOUNT / "streams" / "LEDGER").is_dir()


def test_a_folder_with_streams_in_both_accounts_is_refused_and_not_touched(tmp_path: Path) -> None:
    """As after an older version ran on it again. With either one kept elsewhere it goes on."""
    with EmbeddedServer(tmp_path) as server, Connection(server.url) as connection:
        stream = declare_stream(connection)
        connection.call(connection.request("ledger.candidate.ff.x", b"kept"))
    older, newer = server.store_dir / NAMELESS, server.store_dir / ACCOUNT
    shutil.copytree(newer, older)
    held = files(server.store_dir)
    with pytest.raises(ServerStartError, match=r"two ledgers.*outside the data folder, and start again"):
        EmbeddedServer(tmp_path).start()
    assert files(server.store_dir) == held
    newer.rename(tmp_path / "elsewhere")
    (newer / "streams").mkdir(parents=True)  # empty, it is in nobody's way
    with EmbeddedServer(tmp_path) as server, Connection(server.url) as connection:
        assert [m.body for b in LedgerReader(connection, stream).read_batches() for m in b] == [b"kept"]


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ── a cluster of one's own ──

CLUSTER = """\
listen: "127.0.0.1:{port}"
server_name: own
accounts {{
  $SYS {{ users: [ {{ user: sys, password: sys-secret }} ] }}
  CRM {{ jetstream: enabled, users: [ {{ user: app, password: app-secret }} ], exports: [ {exports} ] }}
  {accounts}
}}
jetstream {{ store_dir: {store_dir}, sync_interval: always }}
"""


def test_what_is_printed_for_a_clusters_operator_gives_the_same_and_no_more(tmp_path: Path) -> None:
    (port,), config = free_ports(1), tmp_path / "own.conf"
    store = json.dumps(str(tmp_path / "store"))
    config.write_text(CLUSTER.format(port=port, exports="", accounts="", store_dir=store))
    cluster = Process(config, port)
    url, system = f"nats://app:app-secret@127.0.0.1:{port}", f"nats://sys:sys-secret@127.0.0.1:{port}"
    with cluster, Node(Settings(data=tmp_path / "node", port=0, nats_url=url, nats_system_url=system)) as node:
        made, seed = node.subscribers.add("mallory", after=0)
        node.subscribers.add("other", after=0)
        printed = described(node, made)
        assert "app-secret" not in json.dumps(printed)
        printed["secret"] = seed
        accounts = printed["configuration"]["accounts"].replace(LEDGER_ACCOUNT, "CRM")
        exports = printed["configuration"]["exports"]
        config.write_text(CLUSTER.format(port=port, exports=exports, accounts=accounts, store_dir=store))
        assert cluster._process is not None
        for _ in range(2):
            cluster._process.send_signal(1)
            until(lambda: "Reloaded server configuration" in cluster.log_path.read_text())
        until(lambda: is_let_in(printed))
        may_nothing_else(printed)


# ── what cannot be done ──


@pytest.mark.parametrize(
    ("asked", "status", "code", "says"),
    [
        ({"name": "UPPER"}, 422, "invalid-subscriber", "name"),
        ({"name": "a.b"}, 422, "invalid-subscriber", "name"),
        ({"name": ">"}, 422, "invalid-subscriber", "name"),
        ({"name": "-a"}, 422, "invalid-subscriber", "name"),
        ({"name": "a" * 41}, 422, "invalid-subscriber", "name"),
        ({"name": "typo", "types": ["pool.jioned"]}, 422, "invalid-subscriber", "nothing published"),
        ({"name": "typo", "types": ["feed.>"]}, 422, "invalid-subscriber", "nothing published"),
        ({"name": "typo", "types": ["candidate.> x"]}, 422, "invalid-subscriber", "nothing published"),
        ({"name": "typo", "types": ["candidate.*", "candidate.sourced"]}, 422, "invalid-subscriber", "contained"),
        ({"name": "typo", "after": 10**9}, 409, "feed-position-unknown", "ends at"),
        ({"name": "taken"}, 409, "subscriber-exists", "rotate"),
        ({"name": "by-hand"}, 409, "subscriber-exists", "choose another name"),
        ({"name": "x", "colour": "red"}, 422, "invalid-request", "colour"),
    ],
)
def test_what_cannot_be_added_is_refused_in_a_sentence_and_leaves_nothing(
    node: Node, http: httpx.Client, asked: dict[str, Any], status: int, code: str, says: str
) -> None:
    http.post("/v1/subscribers", json={"name": "taken"})
    by_hand = {
        "stream_name": "FEED",
        "config": {"name": "by-hand", "durable_name": "by-hand", "ack_policy": "explicit"},
    }
    node.connection.call(node.connection.api("CONSUMER.CREATE.FEED.by-hand", by_hand))
    before = {s["name"] for s in get(http, "/v1/subscribers")["subscribers"]}
    answer = http.post("/v1/subscribers", json=asked)
    is_problem(answer, status, code)
    assert says in answer.json()["detail"]
    assert {s["name"] for s in get(http, "/v1/subscribers")["subscribers"]} == before


def test_who_is_no_admin_is_refused(http: httpx.Client, node: Node) -> None:
    for role in set(Role) - {Role.ADMIN}:
        with client_of(str(http.base_url), node.settings, role) as other:
            is_problem(other.get("/v1/subscribers"), 403, "role-refused")
            is_problem(other.post("/v1/subscribers", json={"name": "sneaky"}), 403, "role-refused")


def test_what_pulls_for_itself_cannot_be_paused(http: httpx.Client) -> None:
    added(http, "pulls")
    for what in ("pause", "resume"):
        is_problem(http.post(f"/v1/subscribers/pulls/{what}"), 409, "not-a-webhook")
        is_problem(http.post(f"/v1/subscribers/nobody/{what}"), 404, "unknown-subscriber")


# ── what is printed ──


def test_the_program_in_python_reads_the_feed_in_order_whatever_is_lost_on_its_way(
    http: httpx.Client, node: Node, tmp_path: Path
) -> None:
    """What was handed out and did not arrive comes again after a minute by itself, which is behind what came since."""
    made = added(http, "crm-sync", after=0)

    async def loses(client: Client, count: int = 2) -> list[int]:
        subscription = await client.jetstream(prefix=API).pull_subscribe_bind("crm-sync", "FEED")
        return [m.metadata.sequence.stream for m in await subscription.fetch(count, timeout=10)]

    last = at_rest(node, http)["FEED"]
    assert as_subscriber(made, loses) == [1, 2]
    with running_as(made, tmp_path) as lines, ThreadPoolExecutor(1) as thread:
        told = [lines.get(timeout=30) for _ in range(last)]
        lost = thread.submit(as_subscriber, made, loses)
        while not lost.done():
            record(http, did("sourced", somebody(), source="ats"))
        assert lost.result(), "it takes a message or two from the program"
        record(http, did("sourced", somebody(), source="ats"))  # with which the loss shows
        now = at_rest(node, http)["FEED"]
        told += [lines.get(timeout=30) for _ in range(last, now)]
    assert [int(line.split()[0]) for line in told if line] == list(range(1, now + 1))


def test_the_command_line_adds_shows_and_removes(http: httpx.Client, node: Node) -> None:
    data = node.settings.data
    printed = ok(data, "subscribers", "add", "by-command", "--types", "pool.*", "--after", "0").decode()
    (seed,) = re.findall(r"\bSU[A-Z2-7]{56}\b", printed)
    made = {"name": "by-command", "servers": shown_servers(node), "secret": seed}
    assert is_let_in(made)
    assert python_of(made | {"api": API, "stream": "FEED"}) in printed
    assert "RAPPORT_NATS_PORT" in printed
    assert "by-command" in ok(data, "subscribers", "list").decode()
    assert "subscriber by-command" in ok(data, "status").decode()
    assert "no subscriber any more" in ok(data, "subscribers", "remove", "by-command").decode()
    assert not is_let_in(made)


def test_the_document_shows_the_program_as_it_is_printed() -> None:
    printed = {"servers": "nats://127.0.0.1:4222", "api": API, "name": "crm-sync", "stream": "FEED"}
    assert f"```python\n{python_of(printed)}```" in DOCS.read_text()
