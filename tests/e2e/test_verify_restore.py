"""`rapport verify` and `rapport restore` as a person runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.damage import stream_folder
from tests.e2e.harness import alive, complaint, did, lines, ok, rapport, server_pid, until, up

ADA = "ada@example.com"
PEOPLE = 300


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds 300 people, of whom nobody works on; tests take copies."""
    data = tmp_path_factory.mktemp("filled") / "data"
    people = [did("sourced", f"p{n}@example.com", first_name="Ada Lovelace") for n in range(PEOPLE)]
    ok(data, "import", lines(data.parent / "people.ndjson", people))
    return data


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "data"))


def document(data: Path, code: int) -> dict[str, Any]:
    done = rapport(data, "verify", "--json")
    assert (done.returncode, done.stderr) == (code, b"")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_verify_works_beside_a_running_node_and_without_one_and_says_how_much_it_compared(data: Path) -> None:
    """And leaves the folder as it was: it may be asked at any time."""
    alone = document(data, 0)
    assert alone["findings"] == []
    assert alone["summary"]["clean"] is True
    with up(data) as (_, http):
        beside = document(data, 0)
        http.post("/v1/interactions", json=did("sourced", ADA)).raise_for_status()
        after = json.loads(http.get("/v1/ledger/verification").text.splitlines()[-1])
        assert "stop it" in complaint(data, "restore", "--yes")
    assert {"events": PEOPLE, "ledger_last_seq": PEOPLE, "checkpoint": PEOPLE}.items() <= alone["summary"].items()
    del alone["summary"]["duration_s"], beside["summary"]["duration_s"]
    assert alone == beside
    assert after["summary"]["events"] == PEOPLE + 1
    text = ok(data, "verify").decode()
    assert f"{PEOPLE + 1} events compared" in text
    assert "events/s" in text


def test_what_cannot_be_checked_is_neither_clean_nor_found_wanting(data: Path) -> None:
    """Exit code 2: without a mirror, with one that is no mirror, with servers that are none."""
    views = (data / "views.duckdb").read_bytes()
    (data / "views.duckdb").write_bytes(b"this is no database\n")
    assert "cannot be read" in complaint(data, "verify", code=2)
    (data / "views.duckdb").unlink()
    assert "nothing to compare" in complaint(data, "verify", code=2)
    assert not (data / "views.duckdb").exists()
    (data / "views.duckdb").write_bytes(views)
    complaint(data, "verify", code=2, RAPPORT_NATS_URL="gopher://127.0.0.1")
    document(data, 0)


def test_a_lost_ledger_is_named_and_restored_only_by_somebody_who_says_yes(data: Path) -> None:
    """Killed by signal 9, the stream's folder gone: what is printed names events and shows nothing of people."""
    with up(data) as (node, http):
        http.post("/v1/interactions", json=did("opted_out", "p7@example.com", method="reply")).raise_for_status()
        until(lambda: http.get("/v1/status").json()["views"]["checkpoint"] == PEOPLE + 1)
        server = server_pid(data)
        os.kill(server, signal.SIGKILL)
        node.kill()
        node.wait()
        until(lambda: not alive(server))
    shutil.rmtree(stream_folder(data))
    for command in (["status"], ["up", "--port", "0"], ["candidate", "show", "p7@example.com"]):
        sentence = complaint(data, *command)
        assert f"lost {PEOPLE + 1} of its events (1 to {PEOPLE + 1})" in sentence
        assert "rapport restore" in sentence
    found = document(data, 1)
    assert [f["seq"] for f in found["findings"]] == list(range(1, PEOPLE + 2))
    assert {f["kind"] for f in found["findings"]} == {"missing"}
    text = rapport(data, "verify")
    assert text.returncode == 1
    assert text.stdout.count(b"missing ") == PEOPLE + 1
    for said in (text.stdout, json.dumps(found).encode()):
        assert b"Lovelace" not in said
        assert b"example.com" not in said
    for answer in (b"", b"y\n"):
        refused = rapport(data, "restore", stdin=answer)
        assert refused.returncode == 1
        assert f"{PEOPLE + 1} events of {PEOPLE} candidates".encode() in refused.stdout
        assert b"nothing was changed" in refused.stderr
    assert document(data, 1)["findings"] == found["findings"]
    assert b"restored" in rapport(data, "restore", stdin=b"yes\n").stdout
    assert document(data, 0)["findings"] == []
    assert b"nothing is lost" in ok(data, "restore")
    standing = rapport(data, "consent", "check", "p7@example.com", "--channel", "email", "--json")
    assert json.loads(standing.stdout)["contactable"] is False
