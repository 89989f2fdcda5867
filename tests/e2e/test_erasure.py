"""Erasing a person, on a real server and real files: nothing of them is left anywhere, and all else stands."""

from __future__ import annotations

import base64
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.node import Node
from domain.candidate import ERASED
from infra import codec
from tests.e2e.harness import ROOT, TIMEOUT_S, environment
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
    dying = subprocess.run(
        [sys.executable, "-c", DYING, str(step), when, "--data", data, *asked],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
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
