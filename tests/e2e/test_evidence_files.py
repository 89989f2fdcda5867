"""Evidence on the command line: written by one who has the data folder, checked by one who has nothing but the file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, complaint, did, lines, ok, rapport, server_pid, stop, until, up

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
ADA = "ada@example.com"
SCRIPT = ROOT / "docs" / "verify_evidence.py"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a node that serves."""
    data = tmp_path_factory.mktemp("node") / "data"
    with up(data) as (_, client):
        documents = [
            did("sourced", ADA, "2026-01-01T00:00:00Z", source="linkedin", first_name="Ada"),
            did("consent_given", ADA, "2026-02-01T00:00:00Z", channel="email", notice_version="2026-01", method="form"),
            did("tagged", ADA, "2026-02-02T00:00:00Z", tag="analyst"),
            did("opted_out", ADA, "2026-03-01T00:00:00Z", channel="email", method="one_click"),
        ]
        assert client.post("/v1/interactions", json=documents).json()["accepted"] == len(documents)
        yield data


@pytest.fixture(scope="module")
def evidence(node: Path) -> Path:
    path = node.parent / "evidence.json"
    ok(node, "consent", "trail", ADA, "--proof", path)
    return path


def test_a_proof_is_written_and_read_by_people(node: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "evidence.json"
    said = ok(node, "consent", "trail", ADA, "-o", path).decode()
    assert "Proved of data subject" in said
    assert path.stat().st_mode & 0o077 == 0
    elsewhere = tmp_path / "no-data"
    said = ok(elsewhere, "consent", "verify-proof", path).decode()
    for shown in ("consent_given", "2026-02-01 00:00", "opted_out", "(email)", "method one_click", "Standing"):
        assert shown in said
    assert "nothing is changed, left out or rearranged" in said
    assert "compare it" in said, "without a key given, the file's own is taken at its word, and that is said"
    assert not elsewhere.exists(), "checking a file needs no node"


def test_the_published_key_settles_who_signed(node: Path, evidence: Path) -> None:
    vkey = (node / "checkpoints" / "vkey").read_text().strip()
    said = ok(node, "consent", "verify-proof", evidence, "--key", vkey).decode()
    assert "compare it" not in said
    assert json.loads(ok(node, "consent", "verify-proof", evidence, "--key", vkey, "--json"))["verified"] is True
    other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert "(wrong-key)" in complaint(node, "consent", "verify-proof", evidence, "--key", other)
    assert "--key" in complaint(node, "consent", "verify-proof", evidence, "--key", "my-key")


def test_evidence_as_of_an_earlier_day_shows_what_held_then(node: Path, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    said = ok(node, "consent", "trail", ADA, "--as-of", "2026-02-15", "--proof", path).decode()
    assert "opted_out" not in said
    assert "consent_given" in said
    assert len(json.loads(path.read_bytes())["events"]) == 4, "all events are proved, also those not shown"


def test_nothing_is_written_over(node: Path, evidence: Path) -> None:
    before = evidence.read_bytes()
    assert "is there already" in complaint(node, "consent", "trail", ADA, "--proof", evidence)
    assert evidence.read_bytes() == before


def test_nobody_unknown_gets_a_proof(node: Path, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    complaint(node, "consent", "trail", "nobody@example.com", "--proof", path)
    assert "held nothing" in complaint(node, "consent", "trail", ADA, "--known-at", "2020-01-01", "--proof", path)
    assert not path.exists()


def test_a_changed_file_proves_nothing_and_says_why(node: Path, evidence: Path, tmp_path: Path) -> None:
    document = json.loads(evidence.read_bytes())
    del document["events"][3]
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(document))
    assert "(removed-event): event 4 of the 4 events" in complaint(node, "consent", "verify-proof", changed)
    answer = json.loads(rapport(node, "consent", "verify-proof", changed, "--json").stdout)
    assert (answer["verified"], answer["reason"]) == (False, "removed-event")


@pytest.mark.parametrize(
    "content", [b"", b"Dear Sir or Madam", b"\xff\xfe\x00", b"[]", b'{"format": 1, "format": 2}', b"[" * 100_000]
)
def test_what_is_no_evidence_file_is_called_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.json"
    path.write_bytes(content)
    assert "not an evidence file" in complaint(tmp_path / "data", "consent", "verify-proof", path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        assert "cannot be read" in complaint(tmp_path / "data", "consent", "verify-proof", path)


def test_an_outsider_checks_it_with_the_script(node: Path, evidence: Path) -> None:
    vkey = (node / "checkpoints" / "vkey").read_text().strip()
    command = [sys.executable, "-I", str(SCRIPT), str(evidence)]
    done = subprocess.run([*command, vkey], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("4 events of ")
    assert vkey in done.stdout


def test_a_node_killed_between_checkpoints_goes_on_from_the_last(tmp_path: Path) -> None:
    """Node and server die at once, again and again; every checkpoint goes on from the one before."""
    data = tmp_path / "data"
    rounds = 20 if SOAK else 2
    for n in range(1, rounds + 1):
        with up(data, RAPPORT_CHECKPOINT_EVERY_S="0.01") as (running, client):
            documents = [did("sourced", f"p{n}-{i}@example.com") for i in range(300)]
            assert client.post("/v1/interactions", json=documents).json()["accepted"] == len(documents)
            if n == 1:
                until((data / "checkpoints" / "history").exists)
            server = server_pid(data)
            running.kill()
            os.kill(server, signal.SIGKILL)
            running.wait()
    with up(data) as (running, client):
        until(lambda: client.get("/readyz").json()["status"] == "ready")
        client.post("/v1/interactions", json=[did("sourced", ADA)])
        assert client.get("/v1/compliance/candidates/ada@example.com/evidence").status_code == 200
        stop(running, signal.SIGTERM)
    latest = (data / "checkpoints" / "latest").read_text().split("\n")
    assert latest[1] == str(300 * rounds + 1)
    sizes = [int(note.split("\n")[1]) for note in (data / "checkpoints" / "history").read_text().split("\n\n\n")[:-1]]
    assert sizes == sorted(set(sizes))
    ok(data, "consent", "trail", ADA, "--proof", tmp_path / "evidence.json")
    ok(data, "verify")


def test_a_misplaced_signing_key_is_one_sentence(tmp_path: Path) -> None:
    data = tmp_path / "data"
    ok(data, "import", lines(tmp_path / "people.ndjson", [did("sourced", ADA)]))
    (data / "signing.key").rename(tmp_path / "signing.key")
    assert "put it back" in complaint(data, "consent", "trail", ADA)
    assert "neither base64 nor hexadecimal" in complaint(data, "consent", "trail", ADA, RAPPORT_SIGNING_KEY="x")
    (tmp_path / "signing.key").rename(data / "signing.key")
    ok(data, "consent", "trail", ADA)
    assert "LOG_ORIGIN" in complaint(data, "consent", "trail", ADA, code=2, RAPPORT_LOG_ORIGIN="two words")
