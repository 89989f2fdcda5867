"""Erasing a person, on a real server and real files: nothing of them is left anywhere, and all else stands."""

from __future__ import annotations

import base64
import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from api.node import Node, last_checkpoint
from consumers.verification import Finding, Summary, verify
from domain.candidate import ERASED
from domain.evidence import parse
from domain.verifying import verify as evidence_verified
from infra import codec
from infra.crypto.signing import check
from infra.jetstream import LedgerReader
from tests.e2e.harness import ended
from tests.e2e.test_personal_data import everything, forms
from tests.integration.test_http import did, get, is_problem, record, running, until

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
SEED = 7
MARK = "Xq7zVk"
WHO = "xq7zvkemail@example.com"
DUPLICATE = "xq7zvkother@example.com"
BYSTANDER = "grace@example.com"
PERSON = [*everything(), did("merged", WHO, into={"email": DUPLICATE})]
"""Two records, with a marker in everything personal."""


@contextmanager
def a_node(folder: Path) -> Iterator[tuple[Node, httpx.Client]]:
    with running(folder) as found:
        yield found


def id_of(http: httpx.Client, who: str) -> str:
    return str(get(http, f"/v1/candidates/{who}")["canonical_id"])


def erase(http: httpx.Client, who: str, **more: Any) -> dict[str, Any]:
    answer = http.post(
        "/v1/compliance/erasures", json={"candidate": who, "ground": "objection", "by": "user:dpo"} | more
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def certified(http: httpx.Client, erasure: str) -> dict[str, Any]:
    def done() -> bool:
        return bool(http.get(f"/v1/compliance/erasures/{erasure}").json().get("certified"))

    until(done, 60.0)
    found: dict[str, Any] = http.get(f"/v1/compliance/erasures/{erasure}").json()
    return found


def left(folder: Path, secrets: dict[str, set[bytes]]) -> list[str]:
    """Which of the secrets stand in which file below the folder."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        found += [
            f"{path.relative_to(folder)}: {name}" for name, kinds in secrets.items() if any(k in content for k in kinds)
        ]
    return found


def test_after_an_erasure_no_byte_of_the_person_is_left(tmp_path: Path) -> None:
    """Nor of a merged duplicate, in any encoding, nor their keys, wrapped or not; the others are as they were."""
    data = tmp_path / "data"
    with a_node(data) as (node, http):
        record(http, *PERSON, did("sourced", BYSTANDER, first_name="Grace"), did("tagged", BYSTANDER, tag="kept"))
        id_ = id_of(http, WHO)
        person = node.forest_of(id_).members(id_)
        assert len(person) == 2
        keys = node.keyring.existing(codec.aggregate_id("candidate", id_) for id_ in person)
        wrapped = node.erasures._keys.get_many(list(keys))
        assert len(keys) == len(wrapped) == 2
        http.get("/v1/snapshot.duckdb").raise_for_status()
        secrets = {"mark": forms(MARK), "phone": forms("2079460123")}
        for name, key in keys.items():
            secrets[f"key of {name}"] = {key, base64.b64encode(key), key.hex().encode()}
            secrets[f"wrapped key of {name}"] = {wrapped[name]}
        assert any("wrapped key" in place for place in left(data, secrets))
        found = certified(http, erase(http, WHO)["erasure"])
        assert {r["id"] for r in found["records"]} == person
        text = http.get(f"/v1/compliance/erasures/{found['erasure']}/certificate").text
        assert all(id_ in text for id_ in person)
        is_problem(http.get(f"/v1/candidates/{WHO}"), 410, "erased")
        assert get(http, f"/v1/candidates/{BYSTANDER}")["tags"] == ["kept"]
    assert left(data, secrets) == []


def test_the_person_does_not_come_back(tmp_path: Path) -> None:
    """Neither by an import of the same record, nor by a late fact, by any identifier or id; nor by a restart."""
    with a_node(tmp_path) as (node, http):
        record(http, *PERSON, did("sourced", BYSTANDER))
        id_ = id_of(http, WHO)
        members = node.forest_of(id_).members(id_)
        certified(http, erase(http, WHO)["erasure"])
        before = node.ledger.last_seq()
        late = [
            *PERSON,
            did("opened", WHO, message="m"),
            did("sourced", {"phone": "+442079460123"}),
            *(did("tagged", {"id": member}, tag="x") for member in members),
        ]
        answer = http.post("/v1/interactions", json=late, params={"history": True}).json()
        assert {result["code"] for result in answer["results"]} == {"erased"}
        assert node.ledger.last_seq() == before
    with a_node(tmp_path) as (node, http):
        is_problem(http.get(f"/v1/compliance/candidates/{id_}/trail"), 410, "erased")
        assert ERASED in http.get(f"/v1/candidates/{id_}").text
        assert id_of(http, BYSTANDER)
        assert node.unready() == []


DYING = """
import os, signal, sys
from infra.erasing import Erasures
from api.cli.main import main
calls, kept, at, when = 0, Erasures._keep, int(sys.argv[1]), sys.argv[2]
def keep(self, erasure):
    global calls
    calls += 1
    if calls == at and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = kept(self, erasure)
    if calls == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
Erasures._keep = keep
sys.argv[:3] = ["rapport"]
main()
"""
"""The command, killed before or after it has noted its nth step."""
STEPS = 13  # of two records: what is planned, two events, eight steps


@pytest.mark.parametrize("step", range(1, STEPS + 1) if SOAK else random.Random(SEED).sample(range(1, STEPS + 1), 3))
def test_killed_at_any_step_the_next_start_finishes_it(tmp_path: Path, step: int) -> None:
    data = tmp_path / "data"
    with a_node(data) as (_, http):
        record(http, *PERSON, did("sourced", BYSTANDER, first_name="Grace"))
    when = random.Random(SEED + step).choice(["before", "after"])
    asked = ["erase", WHO, "--ground", "objection", "--yes"]
    dying = ended(DYING, step, when, "--data", data, *asked)
    assert dying.returncode in (-signal.SIGKILL, 0), dying.stderr
    with a_node(data) as (_, http):
        begun = get(http, "/v1/compliance/erasures")["erasures"]
        for erasure in begun:
            certified(http, erasure["erasure"])
        if not begun:  # killed before it was written down that anybody was to be erased
            assert step == 1
            certified(http, erase(http, WHO)["erasure"])
        is_problem(http.get(f"/v1/candidates/{WHO}"), 410, "erased")
        assert id_of(http, BYSTANDER)
    assert left(data, {"mark": forms(MARK)}) == []


def sealed_parts(node: Node, records: set[str]) -> dict[str, set[bytes]]:
    """What the ledger holds of these records' events, by seq: the sealed part, as it is stored and as it is."""
    found = {}
    for batch in LedgerReader(node.connection, node.stream).read_batches():
        for message in batch:
            state = orjson.loads(message.body)["state"]
            if message.subject.rpartition(".")[2] in records and b'"erased"' not in message.body:
                found[f"event {message.seq}"] = {state["sealed"].encode(), base64.b64decode(state["sealed"])}
    return found


def verified(node: Node) -> tuple[int, list[Finding]]:
    """How many events are purged, and what is wrong."""
    with node.projector.cursor() as cursor:
        items = list(verify(node.connection, node.stream, cursor, last_checkpoint(node.settings)))
    summary = items[-1]
    assert isinstance(summary, Summary)
    return summary.purged, [item for item in items if isinstance(item, Finding)]


def test_after_a_purge_no_stored_byte_is_left_either(tmp_path: Path) -> None:
    """Asked for after an erasure, by its id: the sealed parts go from every file. What was signed before still fits,
    also in a mirror filled anew, and the evidence of the others and of what remains verifies."""
    data = tmp_path / "data"
    with a_node(data) as (node, http):
        record(http, *PERSON, did("sourced", BYSTANDER, first_name="Grace"), did("tagged", BYSTANDER, tag="kept"))
        id_ = id_of(http, WHO)
        person = node.forest_of(id_).members(id_)
        secrets = {"mark": forms(MARK)} | sealed_parts(node, person)
        count = len(secrets) - 1
        assert count >= len(PERSON)
        before = http.get(f"/v1/compliance/candidates/{BYSTANDER}/evidence").content
        found = certified(http, erase(http, WHO)["erasure"])
        assert (found["purge"], found["bodies_removed"]) == (False, 0)
        assert any("event" in place for place in left(data, secrets)), "the envelope stays until it is purged"
        again = erase(http, found["erasure"], purge=True)
        assert (again["erasure"], again["certified"]) == (found["erasure"], False)
        found = certified(http, found["erasure"])
        assert (found["purge"], found["bodies_removed"]) == (True, count)
        text = certificate_of(http, found)
        assert all(f"the bodies of {r['bodies']} of them removed" in text for r in found["records"])
        assert erase(http, id_, purge=True)["certified"], "asked again, by a record, it has nothing to do"
        assert verified(node) == (count, [])
        signed = node.notary.covering(node.ledger.last_seq())[1]
        remaining = http.get(f"/v1/compliance/candidates/{id_}/evidence").content
        rows = mirror_of(node)
    assert left(data, secrets) == []
    for path in data.glob("views.duckdb*"):
        path.unlink()
    with a_node(data) as (node, http):
        until(lambda: node.projector.checkpoint >= node.ledger.last_seq(), 60.0)
        assert verified(node) == (count, [])
        assert mirror_of(node) == rows
        assert node.notary.covering(node.ledger.last_seq())[1] == signed
        after = http.get(f"/v1/compliance/candidates/{BYSTANDER}/evidence").content
        is_problem(http.post("/v1/interactions", json=did("tagged", {"id": id_}, tag="x")), 410, "erased")
        assert node.unready() == []
    for content in (before, remaining, after):
        evidence_verified(content, check)
    purged = [event for event in parse(remaining).events if event.stored is None]
    assert {event.record for event in purged} == {id_}


def certificate_of(http: httpx.Client, found: dict[str, Any]) -> str:
    return http.get(f"/v1/compliance/erasures/{found['erasure']}/certificate").raise_for_status().text


def mirror_of(node: Node) -> list[Any]:
    with node.projector.cursor() as cursor:
        columns = "seq, recorded_at, kind, id, version, type, occurred_at, hash, body, fields"
        return cursor.execute(f"select {columns} from pii.events order by seq").fetchall()  # noqa: S608 - our own columns


DYING_AT_A_PURGE = """
import os, signal, sys
import infra.erasing, infra.purging
from api.cli.main import main
calls, at, when = 0, int(sys.argv[1]), sys.argv[2]
def dying(step):
    def run(*args, **options):
        global calls
        calls += 1
        if calls == at and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = step(*args, **options)
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return run
infra.purging.Purging._delete = dying(infra.purging.Purging._delete)
infra.purging._name = dying(infra.purging._name)
infra.purging.erase_messages = dying(infra.purging.erase_messages)
sys.argv[:3] = ["rapport"]
main()
"""
"""The command, killed before or after the nth step of a purge: events named, deletions begun, an event deleted."""
PURGE_STEPS = 12


@pytest.mark.parametrize(
    "step", range(1, PURGE_STEPS + 1) if SOAK else random.Random(SEED).sample(range(1, PURGE_STEPS + 1), 2)
)
def test_a_purge_killed_anywhere_is_finished_by_the_next_start(tmp_path: Path, step: int) -> None:
    data = tmp_path / "data"
    with a_node(data) as (node, http):
        record(http, *PERSON, did("sourced", BYSTANDER, first_name="Grace"))
        id_ = id_of(http, WHO)
        secrets = sealed_parts(node, node.forest_of(id_).members(id_))
    when = random.Random(SEED + step).choice(["before", "after"])
    asked = ["erase", WHO, "--ground", "objection", "--purge", "--yes"]
    dying = ended(DYING_AT_A_PURGE, step, when, "--data", data, *asked)
    assert dying.returncode == -signal.SIGKILL, dying.stderr
    with a_node(data) as (node, http):
        (erasure,) = get(http, "/v1/compliance/erasures")["erasures"]
        assert certified(http, erasure["erasure"])["bodies_removed"] == len(secrets)
        assert verified(node) == (len(secrets), [])
    assert left(data, secrets) == []


def test_whoever_shares_an_identifier_with_the_erased_stays_reachable_by_their_own(tmp_path: Path) -> None:
    """What names them both is about the one who lives; the shared identifier itself leads to nobody any more."""
    shared = "+442079460123"
    with a_node(tmp_path) as (node, http):
        record(http, did("sourced", {"email": WHO, "phone": shared}), did("sourced", BYSTANDER))
        certified(http, erase(http, WHO)["erasure"])
        answer = http.post("/v1/interactions", json=[did("replied", {"email": BYSTANDER, "phone": shared})])
        assert answer.json()["accepted"] == 1
        id_ = id_of(http, BYSTANDER)
        assert get(http, f"/v1/candidates/{id_}")["identifiers"] == [f"email:{BYSTANDER}"]
        is_problem(http.get(f"/v1/candidates/{shared}"), 410, "erased")
        late = did("sourced", {"email": "new@example.com", "phone": shared})
        assert http.post("/v1/interactions", json=[late]).json()["results"][0]["code"] == "erased"
        assert node.unready() == []


def test_who_cannot_be_read_can_be_erased_by_id(tmp_path: Path) -> None:
    """Their key was lost: the mirror still holds what was opened while it was there, and their identifiers."""
    with a_node(tmp_path / "data") as (node, http):
        record(http, *PERSON)
        id_ = id_of(http, WHO)
        for member in node.forest_of(id_).members(id_):
            name = codec.aggregate_id("candidate", member)
            node.erasures._keys.destroy(name)
            node.keyring.forget(name)
            node.ledger.drop(member)
        certified(http, erase(http, id_)["erasure"])
        is_problem(http.get(f"/v1/candidates/{WHO}"), 410, "erased")
    assert left(tmp_path / "data", {"mark": forms(MARK)}) == []


def test_erasures_asked_for_at_once_each_keep_what_they_found(tmp_path: Path) -> None:
    """Every certificate names its identifiers, and nobody of them comes back when the claims are made again."""
    people = [f"person{n}@example.com" for n in range(8)]
    with a_node(tmp_path) as (node, http):
        record(http, *(did("sourced", who) for who in people))
        with ThreadPoolExecutor(len(people)) as pool:
            found = list(pool.map(lambda who: erase(http, who), people))
        for erasure in found:
            assert certified(http, erasure["erasure"])["identifiers_suppressed"] == 1
        assert {len(e.hashes) for e in node.erasures.all()} == {1}


def test_a_folder_of_any_name_can_be_written_anew(tmp_path: Path) -> None:
    """The path stands in a setting of the database, quoted."""
    with a_node(tmp_path / 'O\'Brien "data" ü') as (_, http):
        record(http, did("sourced", WHO))
        assert certified(http, erase(http, WHO)["erasure"])["certified"]
