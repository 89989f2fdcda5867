"""A master key that was lost, keys that were damaged: what goes on, what is refused, and that nothing is guessed."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.client import served
from api.http.roles import Role, Tokens
from api.node import Node
from infra import codec
from infra.crypto.keyring import PEPPER, PepperDamaged
from infra.crypto.master import LocalMasterKey
from infra.crypto.sealing import new_key
from infra.jetstream import Bucket
from infra.logging import configure
from infra.settings import Settings
from tests.integration.test_http import did, get, is_problem, record, until

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
POOL = "engineers"


@contextmanager
def running(folder: Path) -> Iterator[tuple[Node, httpx.Client]]:
    """A node of this folder, and a client that may do everything."""
    configure("error")
    settings = Settings(data=folder, port=0, checkpoint_every_s=0)
    with Node(settings) as node, served(node) as url:
        token = Tokens.of(settings.tokens_file)[Role.ADMIN]
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, timeout=60.0, trust_env=False, headers=headers) as http:
            yield node, http


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder of a node that has stopped, and who is who in it."""
    folder = tmp_path_factory.mktemp("filled") / "node"
    with running(folder) as (node, http):
        http.post("/v1/pools", json={"name": POOL, "rule": {"all": [{"tag": "python"}]}})
        for who in (ADA, BOB):
            record(http, did("sourced", who, first_name=who[:3].title()), did("tagged", who, tag="python"))
            seq = record(http, did("replied", who))
        node.wait_for(seq)
        ids = {who: get(http, f"/v1/candidates/{who}")["canonical_id"].replace("-", "") for who in (ADA, BOB)}
    return folder, ids


@pytest.fixture
def folder(filled: tuple[Path, dict[str, str]], tmp_path: Path) -> Path:
    return shutil.copytree(filled[0], tmp_path / "node")


@pytest.fixture(scope="module")
def ids(filled: tuple[Path, dict[str, str]]) -> dict[str, str]:
    return filled[1]


def sql(http: httpx.Client, query: str) -> list[Any]:
    answer = http.post("/v1/sql", json={"query": query}, headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    rows: list[Any] = answer.json()
    return rows


@pytest.mark.parametrize("lost", ["missing", "other"])
def test_without_the_master_key_everything_goes_on_that_needs_none(
    folder: Path, ids: dict[str, str], lost: str
) -> None:
    path = folder / "master.key"
    right = path.read_bytes()
    if lost == "missing":
        path.unlink()
    else:
        path.write_bytes(base64.b64encode(os.urandom(32)))
    with running(folder) as (node, http):
        needed, before = node.keyring.master_key_id, node.ledger.last_seq()
        (reason,) = http.get("/readyz").json()["reasons"]
        assert needed in reason
        assert get(http, "/v1/status")["master_key_id"] == needed
        # What stands in the views, and what only reads the ledger's bytes.
        assert sql(http, "select count(*) as n from events") == [{"n": before}]
        assert len(get(http, "/v1/engagement")["candidates"]) == 2
        (pool,) = get(http, "/v1/pools")["pools"]
        assert pool["name"] == POOL
        for name in (POOL, pool["pool_id"].replace("-", "")):
            assert len(get(http, f"/v1/pools/{name}/members")["members"]) == 2
        is_problem(http.get("/v1/pools/nobody/members"), 404, "unknown-pool")
        ada = ids[ADA]
        assert get(http, f"/v1/candidates/{ada}")["first_name"] == "Ada"
        assert len(get(http, f"/v1/candidates/{ada}/timeline")["events"]) == 3
        assert get(http, f"/v1/engagement/{ada}")["score"] > 0
        is_problem(http.get(f"/v1/candidates/{'0' * 32}"), 404, "unresolved-candidate")
        summary = http.get("/v1/ledger/verification").text.splitlines()[-1]
        assert '"clean":true' in summary
        # What needs a key is refused, with the same sentence, and does nothing.
        for answer in (
            http.post("/v1/interactions", json=did("sourced", EVE)),
            http.post("/v1/interactions", json=did("tagged", {"id": ada}, tag="go")),
            http.get(f"/v1/candidates/{ADA}"),
            http.get(f"/v1/compliance/candidates/{ada}/trail"),
            http.get(f"/v1/compliance/candidates/{ada}/export"),
            http.post("/v1/compliance/erasures", json={"candidate": ada, "ground": "no_longer_necessary"}),
            http.post("/v1/pools", json={"name": "others", "rule": {"all": [{"tag": "go"}]}}),
        ):
            assert needed in is_problem(answer, 503, "keys-missing")
        assert node.ledger.last_seq() == before
        assert get(http, "/v1/compliance/erasures")["erasures"] == []
    if lost == "missing":
        assert not path.exists(), "a key made up now would only hide that the right one is gone"
    path.write_bytes(right)
    with running(folder) as (node, http):
        assert node.unready() == []
        record(http, did("sourced", EVE), did("tagged", ADA, tag="go"))
        assert get(http, f"/v1/candidates/{ADA}")["first_name"] == "Ada"


def test_without_keys_what_others_recorded_waits_and_nothing_is_mirrored_as_closed(
    folder: Path, ids: dict[str, str]
) -> None:
    """Events behind the mirror stay there, with a reason; they are not taken for those of a destroyed key."""
    with running(folder) as (node, http):
        node.projecting.stop()
        record(http, did("tagged", ADA, tag="go"))
        behind, last = node.projector.mirrored, node.ledger.last_seq()
    path = folder / "master.key"
    path.rename(folder / "aside")
    with running(folder) as (node, http):
        until(lambda: node.projecting.failure is not None)
        assert node.projector.mirrored == behind < last
        assert "master key" in is_problem(http.get("/v1/engagement"), 503, "views-behind") or node.unready()
        assert sum(node.keyring.master_key_id in reason for reason in node.unready()) == 1
    (folder / "aside").rename(path)
    with running(folder) as (node, http):
        node.wait_for(last)
        assert "go" in get(http, f"/v1/candidates/{ADA}")["tags"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "short", "another"])
def test_a_damaged_key_costs_one_persons_answers_and_no_others(folder: Path, ids: dict[str, str], damage: str) -> None:
    bob = codec.aggregate_id("candidate", ids[BOB])
    with running(folder) as (node, http):
        keys = Bucket(node.connection, "keys")
        whole = keys.get(bob)
        assert whole is not None
        node.wait_for(record(http, did("tagged", BOB, tag="c")))  # this node has the key at hand from here on
        other = LocalMasterKey(new_key()).wrap(new_key(), b"rapport key|" + bob.encode())
        node.projecting.stop()
        keys.put(
            bob,
            {
                "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
                "cut": whole[:40],
                "short": whole[:3],
                "another": other,
            }[damage],
        )
        seq = record(http, did("tagged", BOB, tag="go"), did("tagged", ADA, tag="go"))
    with running(folder) as (node, http):
        node.wait_for(seq)
        assert node.unready() == []
        assert "go" in get(http, f"/v1/candidates/{ADA}")["tags"]
        assert get(http, "/v1/status")["views"]["dead_letters"] == 1
        assert get(http, "/v1/status")["keys_damaged"] == [bob]
        summary = json.loads(http.get("/v1/ledger/verification").text.splitlines()[-1])["summary"]
        assert (summary["keys_damaged"], summary["keys_lost"], summary["clean"]) == ([bob], 1, False)
        said = http.post("/v1/interactions", json=[did("tagged", who, tag="rust") for who in (BOB, ADA)])
        assert [r["status"] for r in said.json()["results"]] == ["rejected", "accepted"]
        assert get(http, f"/v1/compliance/candidates/{ADA}/trail")["records"] == [ids[ADA]]
        sentence = is_problem(http.get(f"/v1/compliance/candidates/{BOB}/trail"), 500, "unreadable-candidate")
        assert f"the key {bob} is damaged" in sentence
        keys = Bucket(node.connection, "keys")
        keys.put(bob, whole)
        assert http.post("/v1/dead-letters/retry").status_code == 200
        assert "go" in get(http, f"/v1/candidates/{BOB}")["tags"]
        assert get(http, "/v1/status")["keys_damaged"] == []
        record(http, did("tagged", BOB, tag="rust"))


def test_who_has_a_damaged_key_can_be_erased(folder: Path, ids: dict[str, str]) -> None:
    bob = codec.aggregate_id("candidate", ids[BOB])
    with running(folder) as (node, _):
        Bucket(node.connection, "keys").put(bob, b"damaged")
    with running(folder) as (node, http):
        asked = {"candidate": ids[BOB], "ground": "unlawful"}
        erased = http.post("/v1/compliance/erasures", json=asked)
        assert erased.status_code == 200, erased.text
        assert Bucket(node.connection, "keys").get(bob) is None
        assert get(http, "/v1/status")["keys_damaged"] == []
        is_problem(http.get(f"/v1/candidates/{BOB}"), 410, "erased")
        assert get(http, f"/v1/candidates/{ADA}")["first_name"] == "Ada"
        erasure = f"/v1/compliance/erasures/{erased.json()['erasure']}"
        until(lambda: get(http, erasure)["certified"], 60.0)
        assert get(http, "/v1/status")["views"]["dead_letters"] == 0
        held = sql(http, "select distinct id::varchar as id from pii.events where identifiers is not null")
        assert [row["id"].replace("-", "") for row in held] == [ids[ADA]]
        assert [row["first_name"] for row in sql(http, "select first_name from pii.profile")] == ["Ada"]


def test_a_damaged_pepper_is_not_taken_for_a_lost_master_key(folder: Path) -> None:
    with running(folder) as (node, _):
        keys = Bucket(node.connection, "keys")
        pepper = keys.get(PEPPER)
        assert pepper is not None
        keys.put(PEPPER, bytes([pepper[0] ^ 1]) + pepper[1:])
    with pytest.raises(PepperDamaged, match="the key pepper is damaged; put it back"), running(folder):
        pass


@pytest.mark.parametrize("refilled", [False, True])
def test_a_lost_key_is_not_taken_for_a_destroyed_one(folder: Path, ids: dict[str, str], refilled: bool) -> None:
    """What was recorded with it waits, in a mirror filled meanwhile too, until the key is put back from a copy."""
    bob = codec.aggregate_id("candidate", ids[BOB])
    with running(folder) as (node, http):
        keys = Bucket(node.connection, "keys")
        whole = keys.get(bob)
        assert whole is not None
        node.projecting.stop()
        seq = record(http, did("tagged", BOB, tag="go"), did("tagged", ADA, tag="go"))
        # As a server does that was stopped cleanly and finds the bytes damaged: it counts them, and hands nothing out.
        keys.destroy(bob)
        node.keyring.make(["candidate-" + "0" * 32])  # in its place
    if refilled:
        (folder / "views.duckdb").unlink()
    with running(folder) as (node, http):
        node.wait_for(seq)
        assert "go" in get(http, f"/v1/candidates/{ADA}")["tags"]
        assert get(http, "/v1/status")["views"]["dead_letters"] >= 1
        sentence = is_problem(http.get(f"/v1/compliance/candidates/{ids[BOB]}/trail"), 500, "unreadable-candidate")
        assert f"the key {bob} is lost; put back" in sentence
        evidence = http.get(f"/v1/compliance/candidates/{ids[BOB]}/evidence")
        assert is_problem(evidence, 500, "unreadable-candidate") == sentence
        assert get(http, "/v1/status")["keys_damaged"] == [bob]
        Bucket(node.connection, "keys").put(bob, whole)
        assert http.post("/v1/dead-letters/retry").status_code == 200
        assert sorted(get(http, f"/v1/candidates/{BOB}")["tags"]) == ["go", "python"]
        assert get(http, "/v1/status")["keys_damaged"] == []


def test_a_key_that_comes_back_with_a_copy_is_destroyed_again(folder: Path, ids: dict[str, str]) -> None:
    """And a mark that was lost is set again, so that a mirror filled anew takes the person for erased."""
    names = [codec.aggregate_id("candidate", ids[who]) for who in (ADA, BOB)]
    with running(folder) as (node, http):
        keys = Bucket(node.connection, "keys")
        copy = keys.get(names[0])
        assert copy is not None
        for who in (ADA, BOB):
            answer = http.post("/v1/compliance/erasures", json={"candidate": who, "ground": "unlawful"})
            assert answer.status_code == 200, answer.text
        keys.put(names[0], copy)
        keys.destroy(names[1])
        node.keyring.make(["candidate-" + "0" * 32])  # in its place
    (folder / "views.duckdb").unlink()
    with running(folder) as (node, http):
        node.wait_for(node.ledger.last_seq())
        keys = Bucket(node.connection, "keys")
        assert (keys.get_many(names), keys.unknown(names)) == ({}, set())
        assert get(http, "/v1/status")["views"]["dead_letters"] == 0
        assert get(http, "/v1/status")["keys_damaged"] == []
