"""`rapport up` and what can stand in its way: each ends in one sentence, never in a traceback."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.nats_server import find_binary, server_info
from tests.e2e.harness import alive, complaint, did, lines, ok, process, rapport, server_pid, stop, until, up

ADA = "ada@example.com"


def test_up_serves_until_ctrl_c_or_sigterm_leaves_nothing_running_and_starts_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for start, by in enumerate((signal.SIGINT, signal.SIGTERM), start=1):
        with up(data, installed=True) as (node, http):
            note = json.loads((data / "node.json").read_text())
            assert note["pid"] == node.pid
            assert str(http.base_url).rstrip("/") == note["url"]
            seq = http.post("/v1/interactions", json=did("sourced", ADA, id=f"crm:{start}")).json()["seq"]
            assert seq == start
            nats = server_pid(data)
            assert alive(nats)
            out, err = stop(node, by)
            assert "stopped" in out
            assert ADA not in err
            assert not (data / "node.json").exists()
            assert not alive(nats)


@pytest.mark.parametrize("accept", ["*/*", "application/x-ndjson"])
def test_a_node_that_stops_says_to_whoever_is_sending_lines_how_far_it_has_come(tmp_path: Path, accept: str) -> None:
    """They may come for hours; what has an outcome is recorded, and the node waits for no more."""
    data = tmp_path / "data"
    with up(data) as (node, http):
        said = "".join(json.dumps(did("sourced", f"one.{n}@example.com")) + "\n" for n in range(500))
        head = (
            f"POST /v1/interactions HTTP/1.1\r\nHost: {http.base_url.netloc.decode()}\r\n"
            f"Authorization: {http.headers['authorization']}\r\nContent-Type: application/x-ndjson\r\n"
            f"Accept: {accept}\r\nContent-Length: {10 * len(said)}\r\n\r\n"
        )
        with socket.create_connection((http.base_url.host, http.base_url.port or 0), timeout=30) as there:
            there.sendall((head + said).encode())
            until(lambda: http.get("/v1/status").json()["ledger"]["last_seq"] == 500)
            begun = time.monotonic()
            _, err = stop(node, signal.SIGTERM)
            assert time.monotonic() - begun < 8
            answer = b"".join(iter(lambda: there.recv(65_536), b""))
    assert b"urn:rapport:problem:stopping" in answer
    assert answer.startswith(b"HTTP/1.1 503 " if accept == "*/*" else b"HTTP/1.1 200 ")
    assert answer.count(b'"status":"accepted"') == (0 if accept == "*/*" else 500)
    assert "Exception" not in err


def test_lines_of_any_length_take_the_same_memory(tmp_path: Path) -> None:
    """A hundred megabytes of them, answered line by line; what the node holds of them is no more than of a few."""

    def resident_mb(pid: int) -> float:
        said = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]
        return int(said) / 1_000

    line = json.dumps({"type": "nothing that is known", "padding": "x" * 1_000}).encode() + b"\n"
    kinds = {"Content-Type": "application/x-ndjson", "Accept": "application/x-ndjson"}
    with up(tmp_path / "data") as (node, http):

        def answered(megabytes: int) -> int:
            sent = (line * 1_000 for _ in range(megabytes))
            with http.stream("POST", "/v1/interactions", content=sent, headers=kinds, timeout=120) as answer:
                return sum(b'"rejected"' in one.encode() for one in answer.iter_lines())

        assert answered(5) > 4_000
        before = resident_mb(node.pid)
        assert answered(100) > 90_000
        assert resident_mb(node.pid) - before < 25


def test_a_signal_while_the_node_starts_ends_it_and_its_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with process(data, "up", "--port", "0") as node:
        until(lambda: server_pid(data))
        nats = server_pid(data)
        node.send_signal(signal.SIGTERM)
        _, err = node.communicate(timeout=60)
        assert b"Traceback" not in err, err.decode()
        until(lambda: not alive(nats))
        assert not (data / "node.json").exists()


def test_kill_9_of_the_node_takes_its_server_along_and_the_next_command_works(tmp_path: Path) -> None:
    """The note of the dead node stays behind and misleads nobody."""
    data = tmp_path / "data"
    with up(data) as (node, http):
        http.post("/v1/interactions", json=did("sourced", ADA)).raise_for_status()
        nats = server_pid(data)
        node.kill()
        node.wait()
        until(lambda: not alive(nats))
    assert (data / "node.json").exists()
    assert json.loads(ok(data, "candidate", "show", ADA, "--json"))["events"] == 1


def test_a_port_in_use_is_one_sentence_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = complaint(tmp_path / "data", "up", "--port", str(port))
        assert f"port {port}" in sentence
        assert "--port" in sentence
        assert "in use" in complaint(tmp_path / "data", "status", RAPPORT_NATS_PORT=str(port))
    assert not (tmp_path / "data" / "node.json").exists()


def test_an_address_that_is_not_ours_is_one_sentence(tmp_path: Path) -> None:
    complaint(tmp_path / "data", "up", "--host", "no.such.host.invalid", "--port", "0")
    complaint(tmp_path / "data", "up", "--host", "192.0.2.1", "--port", "0")


@contextmanager
def plain_nats() -> Iterator[str]:
    """A nats-server without JetStream."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [find_binary(), "-a", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: server_info("127.0.0.1", port))
        yield f"nats://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def test_a_nats_server_without_jetstream_or_none_at_all_is_one_sentence(tmp_path: Path) -> None:
    with plain_nats() as url:
        assert "JetStream" in complaint(tmp_path / "data", "status", RAPPORT_NATS_URL=url)
    sentence = complaint(tmp_path / "data", "status", RAPPORT_NATS_URL=url.replace("//", "//me:s3cret@"))
    assert "no NATS server answers at 127.0.0.1" in sentence
    assert "s3cret" not in sentence
    assert "RAPPORT_NATS_PORT" in complaint(tmp_path / "data", "status", code=2, RAPPORT_NATS_PORT="many")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds 300 people, of whom nobody works on; tests take copies."""
    data = tmp_path_factory.mktemp("filled") / "data"
    people = [did("sourced", f"p{n}@example.com", first_name=f"Name {n}") for n in range(300)]
    ok(data, "import", lines(data.parent / "people.ndjson", people))
    return data


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "data"))


@pytest.mark.parametrize("damage", ["overwritten", "cut", "header", "middle", "text"])
def test_a_broken_views_file_is_one_sentence_with_the_way_out(data: Path, damage: str) -> None:
    """Or does no harm; moving it away builds new views from the ledger."""
    path = data / "views.duckdb"
    whole = path.read_bytes()
    at = len(whole) // 2
    broken = {
        "overwritten": secrets.token_bytes(len(whole)),
        "cut": whole[:at],
        "header": bytes(64) + whole[64:],
        "middle": whole[:12_288] + secrets.token_bytes(len(whole) - 12_288),
        "text": b"this is no database\n",
    }[damage]
    path.write_bytes(broken)
    sentence = complaint(data, "status")
    assert str(path) in sentence
    assert "another process" not in sentence
    assert any(word in sentence for word in ("move", "delete", "rebuild", "restore"))
    if damage == "cut":
        path.unlink()
        (data / "views.duckdb.wal").unlink(missing_ok=True)
        assert b"300" in ok(data, "query", "select count(*) from pii.profile", "--role", "admin", "-f", "csv")


def test_views_ahead_of_the_ledger_stop_the_node_with_what_was_lost(data: Path) -> None:
    shutil.rmtree(data / "nats" / "jetstream")
    sentence = complaint(data, "status")
    assert any(word in sentence for word in ("lost", "master key"))


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in complaint(tmp_path / "file", "status")
    assert str(tmp_path / "file") in complaint(tmp_path / "file" / "data", "status", cwd=tmp_path)


@pytest.mark.parametrize("key", ["missing", "other", "empty", "binary", "text", "variable", "folder"])
def test_without_the_right_master_key_what_needs_it_is_refused_in_one_sentence(data: Path, key: str) -> None:
    """And the rest goes on. Nothing is changed, so that all is as before when the right one is back."""
    path, env = data / "master.key", {}
    right = path.read_bytes()
    other = base64.b64encode(os.urandom(32))
    match key:
        case "missing":
            path.unlink()
        case "variable":
            env = {"RAPPORT_MASTER_KEY": other.decode()}
        case "folder":
            path.unlink()
            path.mkdir()
        case _:
            path.write_bytes({"other": other, "empty": b"", "binary": os.urandom(32), "text": b"secret"}[key])
    with up(data, **env):
        shown = rapport(data, "status", "--json", **env)
        assert (shown.returncode, shown.stderr) == (1, b"")
        needed = json.loads(shown.stdout)["master_key_id"]
        (reason,) = json.loads(shown.stdout)["reasons"]
        sentence = complaint(data, "candidate", "show", "p7@example.com", **env)
        for said in (reason, sentence):
            assert f"master key {needed}" in said
            assert other.decode() not in said
        assert b"300" in ok(data, "query", "select count(*) from pii.profile", "--role", "admin", "-f", "csv", **env)
    if key == "missing":
        assert not path.exists(), "a key made up now would only hide that the right one is gone"
    if key == "folder":
        path.rmdir()
    path.write_bytes(right)
    if key in ("missing", "variable"):
        assert json.loads(ok(data, "candidate", "show", "p7@example.com", "--json"))["first_name"] == "Name 7"
