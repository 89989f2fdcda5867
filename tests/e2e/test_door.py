"""The process that takes deliveries: what stays there, what goes on to the node, and what happens when one ends."""

import http.client
import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from infra.jetstream import Connection
from infra.settings import Settings
from infra.webhook_secrets import WebhookSecrets
from tests.deliveries import of_sendgrid, sendgrid_event, sendgrid_secret
from tests.e2e.harness import Running, stop, up

WITHIN_S = 30.0


@contextmanager
def serving(data: Path, **env: str) -> Iterator[tuple[Running, httpx.Client]]:
    """A ready node that takes SendGrid's deliveries."""
    data.mkdir(mode=0o700, exist_ok=True)
    WebhookSecrets(Settings.embedded(data).webhooks_file).add("sendgrid", sendgrid_secret())
    with up(data, **env) as (process, client):
        token = json.loads((data / "tokens.json").read_text("utf-8"))["admin"]
        client.headers["Authorization"] = f"Bearer {token}"
        soon(lambda: client.get("/readyz").json()["status"] == "ready", "the node to be ready")
        yield process, client


def soon(holds: Any, what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


def door_of(process: Running) -> int:
    """The process id of the node's door."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next(pid for pid in map(int, children) if "nats" not in Path(f"/proc/{pid}/cmdline").read_text())


def connected(client: httpx.Client) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(client.base_url.host, client.base_url.port or 80, timeout=WITHIN_S)


def delivered(connection: http.client.HTTPConnection, email: str = "ada@example.com") -> int:
    """The status of the answer to a delivery of one event."""
    now = datetime.now(UTC)
    delivery = of_sendgrid([sendgrid_event("delivered", uuid4().hex, email=email, timestamp=int(now.timestamp()))], now)
    connection.request("POST", "/v1/webhooks/sendgrid", delivery.body, dict(delivery.headers))
    return answered(connection)


def answered(connection: http.client.HTTPConnection) -> int:
    answer = connection.getresponse()
    answer.read()
    return answer.status


def known(client: httpx.Client) -> None:
    sourced = {"type": "sourced", "candidate": {"email": "ada@example.com"}, "occurred_at": "2026-03-01T09:30:00Z"}
    client.post("/v1/interactions", json=sourced | {"source": "fair"}).raise_for_status()


def received(client: httpx.Client) -> int:
    return int(client.get("/v1/status").json()["ingest"]["since_start"].get("received", 0))


pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="who the door is, is read from /proc")


def test_a_delivery_is_answered_while_the_node_stands_still(tmp_path: Path) -> None:
    """What a node does holds up no provider: with its process stopped, deliveries are acknowledged and kept. Once it
    goes on, they are recorded and counted.
    """
    with serving(tmp_path / "data") as (process, client):
        known(client)
        before = client.get("/v1/status").json()["ledger"]["messages"]
        os.kill(process.pid, signal.SIGSTOP)
        try:
            assert [delivered(connected(client)) for _ in range(5)] == [202] * 5
        finally:
            os.kill(process.pid, signal.SIGCONT)
        soon(lambda: client.get("/v1/status").json()["ledger"]["messages"] == before + 5, "the events")
        soon(lambda: received(client) == 5, "the figures")


def test_the_door_is_on_the_nats_server_as_itself(tmp_path: Path) -> None:
    """Not as the node, which may do anything with the ledger and its keys; what its login may is tested elsewhere."""
    with serving(tmp_path / "data") as (_, client):
        assert delivered(connected(client)) == 202
        nats = tmp_path / "data" / "nats"
        login = json.loads((nats / "nats-login.json").read_bytes())
        (ports,) = nats.glob("*.ports")
        address = json.loads(ports.read_bytes())["nats"][0].rpartition("/")[2]
        system = f"nats://{login['system_user']}:{login['system_password']}@{address}"
        with Connection(system, jetstream=False) as connection:
            asked = connection.request("$SYS.REQ.SERVER.PING.CONNZ", b'{"auth": true}')
            found = json.loads(connection.call(asked).body)["data"]["connections"]
    assert Counter(one.get("account") for one in found)["door"] == 1
    assert {one["authorized_user"] for one in found if one.get("account") == "door"} == {"door"}


def test_who_waits_for_a_node_that_stands_still_leaves_room_for_deliveries(tmp_path: Path) -> None:
    """However many ask the node meanwhile and give up: what waits for it is bounded, and the rest is told to come
    again.
    """
    with serving(tmp_path / "data") as (process, client):
        known(client)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            said = [_told_at_once(client) for _ in range(600)]
            assert said[-1] == b"HTTP/1.1 503 Service Unavailable"
            assert said.count(b"") < 500
            assert len(list(Path(f"/proc/{door_of(process)}/fd").iterdir())) < 100
            assert delivered(connected(client)) == 202
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert client.get("/healthz").status_code == 200


def _told_at_once(client: httpx.Client) -> bytes:
    """The first line of the answer to a request, if there is one within milliseconds."""
    with socket.create_connection((client.base_url.host, client.base_url.port), WITHIN_S) as one:
        one.settimeout(0.01)
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        with suppress(TimeoutError):
            return one.recv(4_096).partition(b"\r\n")[0]
    return b""


def test_a_list_of_webhooks_that_was_broken_shows_in_readiness(tmp_path: Path) -> None:
    """The door goes on with what it knew, and the node says what is wrong with the file."""
    with serving(tmp_path / "data") as (_, client):
        Settings.embedded(tmp_path / "data").webhooks_file.write_text("[sendgrid", "utf-8")
        soon(lambda: "TOML" in " ".join(client.get("/readyz").json()["reasons"]), "readiness to tell of it")
        assert delivered(connected(client)) == 202


def test_one_connection_serves_deliveries_and_all_else_in_any_order(tmp_path: Path) -> None:
    """A proxy may send everything over the same connections: neither side of the door loses or mixes up a request,
    and one that is handed on before it is whole arrives whole.
    """
    with serving(tmp_path / "data") as (_, client):
        known(client)
        token = {"Authorization": client.headers["Authorization"]}
        connection = connected(client)
        for _ in range(3):
            assert [delivered(connection), delivered(connection)] == [202, 202]
            connection.request("GET", "/v1/candidates/ada@example.com", headers=token)
            assert answered(connection) == 200
            assert delivered(connection) == 202
            connection.close()  # the next begins at the door again
        lines = b"".join(
            b'{"type":"sourced","candidate":{"email":"p%d@example.com"},"occurred_at":"2026-03-01T09:30:00Z"}\n' % n
            for n in range(3_000)
        )
        ndjson = token | {"Content-Type": "application/x-ndjson"}
        assert delivered(connection) == 202
        connection.request("POST", "/v1/interactions", lines, ndjson)
        answer = connection.getresponse()
        assert [r["status"] for r in json.loads(answer.read())["results"]] == ["accepted"] * 3_000
        assert received(client) <= 10


def test_a_request_may_come_in_pieces_of_any_size(tmp_path: Path) -> None:
    """Whose a request is shows in its first bytes; they may come one by one, and more than one request at a time."""
    with serving(tmp_path / "data") as (_, client):
        for line, status in ((b"GET /healthz", b"200"), (b"POST /v1/webhooks/none", b"404")):
            request = line + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
            with socket.create_connection((client.base_url.host, client.base_url.port), WITHIN_S) as one:
                for byte in request:
                    one.sendall(bytes([byte]))
                    time.sleep(0.001)
                assert one.recv(12) == b"HTTP/1.1 " + status
        rest = b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        both = b"POST /v1/webhooks/none" + rest + b"GET /healthz" + rest
        with socket.create_connection((client.base_url.host, client.base_url.port), WITHIN_S) as one:
            one.sendall(both)
            found = b""
            while piece := one.recv(65_536):
                found += piece
        assert [part[:3] for part in found.split(b"HTTP/1.1 ")[1:]] == [b"404", b"421"]


def test_without_its_door_the_node_takes_deliveries_itself_and_says_so(tmp_path: Path) -> None:
    """A killed door costs what was under way and nothing else; `/readyz` and the log tell of it."""
    with serving(tmp_path / "data") as (process, client):
        known(client)
        os.kill(door_of(process), signal.SIGKILL)
        soon(lambda: "door" in " ".join(client.get("/readyz").json()["reasons"]), "readiness to tell of it")
        assert delivered(connected(client)) == 202
        assert client.get("/healthz").status_code == 200
        assert "the door has ended" in stop(process, signal.SIGTERM)[1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_door_outlives_its_node(tmp_path: Path, how: signal.Signals) -> None:
    """However the node ends, its door does, and the next node has the port."""
    with serving(tmp_path / "data") as (process, client):
        door, port = door_of(process), client.base_url.port
        assert delivered(connected(client)) == 202
        os.kill(process.pid, how)
        soon(lambda: not Path(f"/proc/{door}").exists(), "the door to end")
        with socket.socket() as next_one:
            next_one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            soon(lambda: _binds(next_one, port), "the port to be free")


def _binds(listener: socket.socket, port: int | None) -> bool:
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
