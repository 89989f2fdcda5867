"""A node starts only where nothing is acknowledged before it is on disk, and says how it knows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.persistence import OperationalError, ProgrammingError

from api.node import Node
from infra import nats_server
from infra.jetstream import Connection, declare_stream
from infra.jetstream.access import access
from infra.jetstream.batch import publish_one
from infra.jetstream.durability import Durability, NotDurableError, ask_syncing
from infra.jetstream.stream import Stream, ledger_settings
from infra.logging import configure
from infra.nats_server import EmbeddedServer
from infra.settings import Settings
from tests.cluster import Cluster, await_until
from tests.servers import fresh_name, shared_connection, shared_server

MASTER_KEY = "0123456789abcdef" * 4
OLD_CONFIG = """\
listen: "127.0.0.1:{port}"
server_name: {name}
pid_file: {pid_file}
ports_file_dir: {ports_dir}
log_file: {log_file}
max_payload: 8MB
authorization {{ user: {user}, password: {password} }}
jetstream {{
  store_dir: {store_dir}
  sync_interval: always
  max_memory_store: 64MB
}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three servers that are durable."""
    configure("error")
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def settings(cluster: Cluster, folder: Path, **others: Any) -> Settings:
    given = {"nats_url": ",".join(cluster.urls), "nats_system_url": ",".join(cluster.system_urls), "replicas": 3}
    given["master_key"] = MASTER_KEY
    return Settings(data=folder, **given | others)


def test_a_node_on_a_cluster_shows_what_each_server_said_and_where_the_replicas_are(
    cluster: Cluster, tmp_path: Path
) -> None:
    """And streams and buckets have all the replicas that were asked for."""
    with Node(settings(cluster, tmp_path)) as node:
        ledger = node.status()["ledger"]
        assert ledger["sync"].startswith("always, asserted on 3 servers at ")
        assert (ledger["replicas"], ledger["duplicate_window_s"]) == (3, 120.0)
        assert sorted([ledger["leader"], *ledger["followers"]]) == cluster.names
        for name in ("LEDGER", "KV_keys", "KV_claims"):
            info = node.connection.call(node.connection.read_api(f"STREAM.INFO.{name}"))
            assert info["config"]["num_replicas"] == 3
            assert len(info["cluster"]["replicas"]) == 2


def test_a_server_that_is_away_is_named_and_keeps_no_node_from_starting(cluster: Cluster, tmp_path: Path) -> None:
    """While it is away it acknowledges nothing. (A node waits for elections: only in the long version.)"""
    cluster.kill(1)
    try:
        found = ask_syncing(access(cluster.system_urls), 0.5)
        assert (found.always, found.lax, found.silent) == (("n0", "n2"), (), ("n1",))
        assert str(found).startswith("always, asserted on 2 servers at ")
        assert str(found).endswith("; no answer from n1")
        if os.environ.get("RAPPORT_SOAK"):
            with Node(settings(cluster, tmp_path)) as node:
                assert not node.unready()
    finally:
        cluster.start(1)
        cluster.wait_healthy()


def test_status_on_the_command_line(cluster: Cluster, tmp_path: Path) -> None:
    given = {
        "RAPPORT_NATS_URL": ",".join(cluster.urls),
        "RAPPORT_NATS_SYSTEM_URL": cluster.system_urls[0],
        "RAPPORT_REPLICAS": "3",
        "RAPPORT_MASTER_KEY": MASTER_KEY,
    }
    command = [sys.executable, "-c", "from api.cli import main; main()", "--data", str(tmp_path), "status"]
    shown = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=False).stdout
    assert "always, asserted on 3 servers at " in shown
    assert "leads, n" in shown
    assert "120 s" in shown


def test_a_node_without_a_login_for_asking_does_not_start_unless_told_to(cluster: Cluster, tmp_path: Path) -> None:
    with (
        pytest.raises(NotDurableError, match="RAPPORT_NATS_SYNC=unasserted"),
        Node(settings(cluster, tmp_path, nats_system_url=None)),
    ):
        pass
    with (
        pytest.raises(NotDurableError, match="not one of their system account"),
        Node(settings(cluster, tmp_path, nats_system_url=cluster.urls[0])),
    ):
        pass
    with Node(settings(cluster, tmp_path, nats_system_url=None, nats_sync="unasserted")) as node:
        assert node.status()["ledger"]["sync"] == "unasserted: as the servers' operator says"
        assert not node.unready()


def test_one_lax_server_of_three_keeps_a_node_from_starting(tmp_path: Path) -> None:
    with Cluster(tmp_path, sync_intervals={1: "2m"}) as cluster:
        with (
            pytest.raises(NotDurableError, match="the server n1 acknowledges events before they are on disk"),
            Node(settings(cluster, tmp_path / "node")),
        ):
            pass
        with Connection(cluster.urls) as connection:
            assert connection.call(connection.api("STREAM.NAMES"))["streams"] is None  # it touched nothing
        with Node(settings(cluster, tmp_path / "node", nats_sync="unasserted")) as node:
            assert node.status()["ledger"]["sync"] == "not always on n1"
            assert not node.unready()


def test_a_server_that_comes_back_lax_is_noticed(tmp_path: Path) -> None:
    """By asking again and again; and when it is durable again, that is noticed too."""
    with Cluster(tmp_path) as cluster:
        heard: list[str] = []
        durability = Durability(access(cluster.system_urls), repeat_s=0.1)
        durability.start(heard.append)
        try:
            assert durability.failure is None
            for interval, failed in (("2m", True), ("always", False)):
                cluster.kill(2)
                cluster.reconfigure(2, "sync_interval", interval)
                cluster.start(2)
                await_until(lambda failed=failed: (durability.failure is not None) is failed, f"{interval} to show")
        finally:
            durability.stop()
        assert any("the server n2 acknowledges events before they are on disk" in trouble for trouble in heard)


def test_the_embedded_server_is_asked_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every start: neither a constant in our configuration nor a word in the status is taken for it."""
    with Node(Settings(data=tmp_path)) as node:
        assert node.status()["ledger"]["sync"].startswith("always, asserted on 1 server at ")
        assert node.status()["ledger"]["leader"] is None
    monkeypatch.setattr(nats_server, "CONFIG", nats_server.CONFIG.replace("sync_interval: always", "sync_interval: 2m"))
    with (
        pytest.raises(NotDurableError, match="the server rapport acknowledges events before they are on disk"),
        Node(Settings(data=tmp_path, nats_sync="unasserted")),
    ):
        pass


def test_a_folder_from_before_there_was_a_system_account_stays_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(nats_server, "CONFIG", OLD_CONFIG)
        with EmbeddedServer(tmp_path) as server, Connection(server.url) as connection:
            stream = declare_stream(connection)
            for number in range(3):
                connection.call(connection.request(f"ledger.candidate.ab.{number:032x}", b"{}"))
    path = tmp_path / "nats-login.json"
    login = json.loads(path.read_bytes())
    path.write_text(json.dumps({"user": login["user"], "password": login["password"]}))
    with EmbeddedServer(tmp_path) as server, Connection(server.url) as connection:
        held = connection.call(connection.read_api(f"STREAM.INFO.{stream.name}"))["state"]
        assert (held["messages"], held["last_seq"]) == (3, 3)
        assert ask_syncing(access(server.system_url)).always == ("rapport",)
        assert f":{login['password']}@" in server.url


def test_the_ledgers_login_cannot_ask_and_the_servers_own_login_cannot_read_the_ledger() -> None:
    with pytest.raises(NotDurableError):
        ask_syncing(access(shared_server().url))
    with pytest.raises(OperationalError, match="no JetStream"):
        Connection(shared_server().system_url)


def test_a_ledger_of_a_version_before_is_brought_up_to_date_and_another_is_left_as_it_is() -> None:
    connection, name, other = shared_connection(), fresh_name(), fresh_name()
    now = ledger_settings(Stream(name, name.lower()))
    before = now | {"max_msgs_per_subject": -1, "discard_new_per_subject": False}
    connection.call(connection.api(f"STREAM.CREATE.{name}", before))
    connection.call(publish_one(connection, f"{name.lower()}.a", b"kept", 0, timeout_s=5.0))
    for _ in range(2):
        found = connection.call(connection.api(f"STREAM.INFO.{declare_stream(connection, name).name}"))
        assert now.items() <= found["config"].items()
        assert found["state"]["messages"] == 1
    foreign = before | {"name": other, "subjects": [f"{other.lower()}.>"], "deny_purge": False}
    connection.call(connection.api(f"STREAM.CREATE.{other}", foreign))
    with pytest.raises(ProgrammingError, match="deny_purge is False instead of True"):
        declare_stream(connection, other)
    assert connection.call(connection.api(f"STREAM.INFO.{other}"))["config"]["max_msgs_per_subject"] == -1


def test_a_ledger_lies_in_blocks_of_4_mb_of_which_the_server_reads_whole_ones(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, Connection(server.url) as connection:
        declare_stream(connection)
        for number in range(10):
            connection.call(publish_one(connection, f"ledger.{number}", bytes(900_000), 0, timeout_s=5.0))
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.blk")]
    assert sum(sizes) > 9_000_000
    assert max(sizes) <= 4 << 20


def test_a_stream_that_persists_later_than_it_acknowledges_is_refused() -> None:
    """`persist_mode: async` overrides the server's setting for one stream."""
    connection, name = shared_connection(), fresh_name()
    lax = ledger_settings(Stream(name, name.lower())) | {"persist_mode": "async", "allow_atomic": False}
    connection.call(connection.api(f"STREAM.CREATE.{name}", lax))
    with pytest.raises(ProgrammingError, match="persist_mode is 'async' instead of 'default'"):
        declare_stream(connection, name)
