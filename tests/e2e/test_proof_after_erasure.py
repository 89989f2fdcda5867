"""Proof after an erasure: whoever held evidence before still can verify it, and the log goes on where it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import httpx
import pytest

from domain.checkpoint import Checkpoint
from domain.merkle import consistency_proof, proves_consistency, root
from infra.duckdb import open_database
from projections import tree
from projections.tree import Nodes
from tests.e2e.harness import ROOT, did, ok, rapport, stop, until, up
from tests.e2e.test_personal_data import everything, leaks

SCRIPT = ROOT / "docs" / "verify_evidence.py"
WHO = "xq7zvkemail@example.com"
BYSTANDER = "grace@example.com"
COMPLIANCE = "/v1/compliance"


@dataclass(frozen=True)
class Told:
    """What outsiders were given: evidence before and after the erasure, checkpoints, the key; and the folder it is of.

    `id_` is a record of the erased person.
    """

    data: Path
    files: Path
    id_: str
    before: Checkpoint
    after: Checkpoint

    @property
    def vkey(self) -> str:
        return (self.data / "checkpoints" / "vkey").read_text().strip()


def history(who: str) -> list[dict[str, object]]:
    """A short one, with a consent and its end."""
    return [
        did("sourced", who, "2026-01-01T00:00:00Z", source="linkedin", first_name="Grace"),
        did("consent_given", who, "2026-02-01T00:00:00Z", channel="email", notice_version="2026-01", method="form"),
        did("opted_out", who, "2026-03-01T00:00:00Z", channel="email", method="one_click"),
    ]


def record(client: httpx.Client, documents: list[dict[str, object]]) -> None:
    answer = client.post("/v1/interactions", json=documents, params={"history": True}).json()
    assert answer["accepted"] == len(documents), answer


def ready(client: httpx.Client, seq: int) -> None:
    """Returns when every view holds the ledger up to `seq`."""

    def reached() -> bool:
        status = client.get("/v1/status").json()
        return bool(status["ready"] and status["views"]["checkpoint"] >= seq)

    until(reached)


def latest(data: Path) -> Checkpoint:
    return Checkpoint.of((data / "checkpoints" / "latest").read_text().rpartition("\n\n")[0] + "\n")


def erased(client: httpx.Client, who: str) -> None:
    """Returns when the certificate is issued, for which the views' file has been written anew."""
    asked = {"candidate": who, "ground": "objection", "by": "user:dpo"}
    id_ = client.post(f"{COMPLIANCE}/erasures", json=asked).raise_for_status().json()["erasure"]
    until(lambda: client.get(f"{COMPLIANCE}/erasures/{id_}").json()["certified"])
    steps = client.get(f"{COMPLIANCE}/erasures/{id_}").json()["steps"]
    assert "file written anew" in steps


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    files = tmp_path_factory.mktemp("evidence")
    data = tmp_path_factory.mktemp("node") / "data"
    with up(data, RAPPORT_CHECKPOINT_EVERY_S="0") as (running, client):
        record(client, [*history(BYSTANDER), *everything()])
        id_ = client.get(f"/v1/candidates/{WHO}").json()["canonical_id"]
        for who, name in ((BYSTANDER, "bystander-before"), (WHO, "person-before")):
            ok(data, "consent", "trail", who, "--proof", files / f"{name}.json")
        before = latest(data)
        erased(client, WHO)
        record(client, [did("tagged", BYSTANDER, tag="kept")])
        for who, name in ((BYSTANDER, "bystander-after"), (id_, "person-after")):
            ok(data, "consent", "trail", who, "--proof", files / f"{name}.json")
        stop(running, signal.SIGTERM)
    return Told(data, files, id_, before, latest(data))


def verified_by_script(path: Path, vkey: str) -> str:
    """What the stand-alone script says, in a process that sees none of our code. Fails when it refuses."""
    command = [sys.executable, "-I", str(SCRIPT), str(path), vkey]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=path.parent).stdout


@contextmanager
def mirror(data: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_database(data / "views.duckdb") as connection:
        yield connection


@pytest.mark.parametrize("name", ["bystander-before", "bystander-after", "person-before", "person-after"])
def test_evidence_of_before_and_after_verifies_by_script_and_by_command(told: Told, name: str) -> None:
    """Also that about the erased: what somebody holds of it they hold, and what remains is what was logged."""
    path = told.files / f"{name}.json"
    events = json.loads(path.read_bytes())["events"]
    assert verified_by_script(path, told.vkey).startswith(f"{len(events)} events of ")
    found = json.loads(ok(told.data, "consent", "verify-proof", path, "--key", told.vkey, "--json"))
    assert (found["verified"], found["events"], found["key_given"]) == (True, len(events), True)
    changed = path.with_name(f"changed-{name}.json")
    changed.write_text(json.dumps(json.loads(path.read_bytes()) | {"events": events[:-1]}))
    assert rapport(told.data, "consent", "verify-proof", changed, "--key", told.vkey).returncode == 1
    with pytest.raises(subprocess.CalledProcessError):
        verified_by_script(changed, told.vkey)


def test_what_remains_of_the_erased_proves_and_says_nothing_of_them(told: Told) -> None:
    """Every event that was proved before is proved after, with the same bytes, which hold no marker in any form."""
    before, after = (json.loads((told.files / f"person-{when}.json").read_bytes()) for when in ("before", "after"))
    assert before["trail"] is not None
    assert after["trail"] is None
    same = {e["seq"]: (e["record"], e["version"], e["hash"], e["stored"]) for e in after["events"]}
    for event in before["events"]:
        assert same.pop(event["seq"]) == (event["record"], event["version"], event["hash"], event["stored"])
    last = [json.loads(b64decode(stored))["type"] for *_, stored in same.values()]
    assert last == ["erased"] * len(after["records"])
    content = (told.files / "person-after.json").read_bytes()
    for place, text in [("file", content), *((str(e["seq"]), b64decode(e["stored"])) for e in after["events"])]:
        assert leaks(place, text) == []


def test_the_checkpoints_before_and_after_are_consistent(told: Told) -> None:
    """By the proof (RFC 9162) made from the file written anew, and by the root of its events taken anew."""
    before, after = told.before, told.after
    assert before.origin == after.origin
    assert before.size < after.size
    with mirror(told.data) as connection:
        proof = consistency_proof(before.size, after.size, Nodes(connection))
        assert tree.root_of_mirror(connection, before.size) == before.root
        assert tree.root_of_mirror(connection, after.size) == after.root
    assert proves_consistency(before.size, after.size, before.root, after.root, proof)
    assert not proves_consistency(before.size, after.size, after.root, after.root, proof)


@pytest.mark.parametrize("how", ["rebuilt", "filled anew"])
def test_the_log_goes_on_with_the_same_root(told: Told, how: str) -> None:
    """After every view was computed anew, and after the whole mirror was filled from the ledger again."""
    data, was = told.data, latest(told.data)
    if how == "rebuilt":
        ok(data, "rebuild")
    else:
        for path in data.glob("views.duckdb*"):
            path.rename(told.files / f"{path.name}-moved-away")
        with up(data, RAPPORT_CHECKPOINT_EVERY_S="0.1") as (running, client):
            ready(client, was.size)
            stop(running, signal.SIGTERM)
    assert latest(data) == was, "nothing is new, so nothing is signed"
    with mirror(data) as connection:
        assert root(was.size, Nodes(connection)) == tree.root_of_mirror(connection, was.size) == was.root
    with up(data) as (running, client):
        record(client, [did("tagged", BYSTANDER, tag=how)])
        ready(client, was.size + 1)
        stop(running, signal.SIGTERM)
    now = latest(data)
    assert (now.origin, now.size) == (was.origin, was.size + 1)
    with mirror(data) as connection:
        proof = consistency_proof(was.size, now.size, Nodes(connection))
    assert proves_consistency(was.size, now.size, was.root, now.root, proof)
    path = told.files / f"{how}.json"
    ok(data, "consent", "trail", told.id_, "--proof", path)
    assert leaks("file", path.read_bytes()) == []
    verified_by_script(path, told.vkey)
    ok(data, "verify")
