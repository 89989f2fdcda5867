"""A node proves trails: tree and checkpoints over a real ledger, what disturbs them, the evidence it hands out."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from api.cli.client import client_of, served
from api.node import Node, NodeError
from consumers.notary import last_signed
from consumers.verification import Finding, Kind, Summary, verify
from domain.checkpoint import Checkpoint, VerifyingKey
from domain.merkle import consistency_proof, proves_consistency
from domain.verifying import Verified
from domain.verifying import verify as verify_evidence
from infra.checkpoints import END
from infra.crypto.signing import SigningKey, check, local_signing_key
from infra.jetstream import Bucket
from infra.logging import configure
from infra.settings import Settings
from projections import tree
from tests.integration.test_http import did, record, somebody, until
from tests.unit.test_evidence import by_script
from tests.views import with_empty_views

SOAK = bool(os.environ.get("RAPPORT_SOAK"))


@contextmanager
def node_of(data: Path, **settings: Any) -> Iterator[tuple[Node, httpx.Client]]:
    configure("critical")
    with (
        Node(Settings(data=with_empty_views(data), port=0, **{"checkpoint_every_s": 0, **settings})) as node,
        served(node) as url,
        client_of(url, node.settings) as http,
    ):
        yield node, http


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with node_of(tmp_path_factory.mktemp("node")) as found:
        yield found


def people(http: httpx.Client, count: int) -> int:
    return record(http, *(did("sourced", somebody(), first_name="Ada") for _ in range(count)))


def signed_in(data: Path) -> list[Checkpoint]:
    """Every checkpoint of the folder, each verified with its key."""
    key = local_signing_key(None, data / "signing.key", signed_before=True)
    notes = (data / "checkpoints" / "history").read_bytes().split(END)
    assert notes.pop() == b""
    return [last_signed(f"{note.decode()}\n", key) for note in notes]


def proved(http: httpx.Client, ref: str, **asked: str) -> Verified:
    answer = http.get(f"/v1/compliance/candidates/{ref}/evidence", params=asked)
    assert answer.status_code == 200, answer.text
    return verify_evidence(answer.content, check)


def findings(node: Node, signed: Checkpoint | None) -> list[Finding]:
    with node.projector.cursor() as cursor:
        *items, summary = verify(node.connection, node.stream, cursor, signed)
    assert isinstance(summary, Summary)
    assert summary.is_clean is not any(isinstance(i, Finding) for i in items)
    return [i for i in items if isinstance(i, Finding)]


def with_views(data: Path, *statements: str) -> None:
    """Something is done to the file of a node that does not run."""
    with duckdb.connect(data / "views.duckdb") as file:
        for statement in statements:
            file.execute(statement)


# ── checkpoints ────────────────────────────────────────────────────────────────────────────────────


def test_a_node_signs_at_stop_what_it_has_come_to_and_nothing_when_nothing_is_new(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with node_of(data):
        pass
    assert not (data / "checkpoints").exists()
    for count in (3, 300, 0, 600):
        with node_of(data) as (node, http):
            if count:
                node.wait_for(people(http, count), 60.0)
            assert node.unready() == []
    checkpoints = signed_in(data)
    assert [c.size for c in checkpoints] == [3, 303, 903]
    assert len({c.origin for c in checkpoints}) == 1
    assert re.fullmatch("rapport/[0-9a-f]{16}", checkpoints[0].origin)
    assert (data / "checkpoints" / "latest").read_text().startswith(checkpoints[-1].text)
    key = VerifyingKey.of((data / "checkpoints" / "vkey").read_text().strip())
    assert key == local_signing_key(None, data / "signing.key", signed_before=True).named(checkpoints[0].origin)
    with duckdb.connect(data / "views.duckdb", read_only=True) as file:
        nodes = tree.Nodes(file)
        for old, new in pairwise(checkpoints):
            proof = consistency_proof(old.size, new.size, nodes)
            assert proves_consistency(old.size, new.size, old.root, new.root, proof)


def test_a_node_signs_on_its_interval_while_it_records(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with node_of(data, checkpoint_every_s=0.05) as (node, http):
        for count in (5, 7):
            last = people(http, count)
            until(lambda last=last: (data / "checkpoints" / "history").exists() and signed_in(data)[-1].size == last)
        assert node.unready() == []


def test_two_nodes_of_one_key_would_sign_the_same_note(tmp_path: Path) -> None:
    """A key and a name from settings leave nothing to chance."""
    data, key = tmp_path / "data", bytes(range(32)).hex()
    with node_of(data, signing_key=key, log_origin="example.com/candidates") as (node, http):
        node.wait_for(people(http, 4), 60.0)
    assert not (data / "signing.key").exists()
    note = (data / "checkpoints" / "latest").read_text()
    found = last_signed(note, SigningKey(bytes(range(32))))
    assert (found.origin, found.size) == ("example.com/candidates", 4)
    assert SigningKey(bytes(range(32))).note(found.text, found.origin) == note


def test_a_mirror_filled_anew_leads_to_the_same_log(tmp_path: Path) -> None:
    """While it is being filled nothing is signed, and nothing is wrong."""
    data = tmp_path / "data"
    with node_of(data) as (node, http):
        node.wait_for(people(http, 700), 60.0)
    (data / "views.duckdb").unlink()
    with node_of(data, checkpoint_every_s=0.01) as (node, http):
        assert [reason for reason in node.unready() if "signed" in reason] == []
        node.wait_for(700, 60.0)
        assert people(http, 1) == 701
    assert [c.size for c in signed_in(data)] == [700, 701]


# ── what is wrong is found, and nothing is signed over it ──────────────────────────────────────────

SIGNED = 1_300
"""Events under the checkpoint: more than are compared one by one at each start."""


@pytest.fixture(scope="module")
def signed_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("signed") / "data"
    with node_of(data) as (node, http):
        node.wait_for(people(http, SIGNED), 60.0)
    assert [c.size for c in signed_in(data)] == [SIGNED]
    return data


@pytest.fixture
def data(signed_data: Path, tmp_path: Path) -> Path:
    """The folder of a node that has signed what it has recorded."""
    return Path(shutil.copytree(signed_data, tmp_path / "data"))


def refusal_of(data: Path, **settings: Any) -> str:
    """Why a node of this folder signs nothing; that it does not even when there is more, and says so everywhere."""
    with node_of(data, **settings) as (node, http):
        until(lambda: node.notary.failure is not None)
        node.wait_for(people(http, 1), 60.0)
        (reason,) = node.unready()
        assert http.get("/readyz").json()["reasons"] == [reason]
        answer = http.get(f"/v1/compliance/candidates/{an_id(node)}/evidence")
        assert answer.status_code == 409
        assert answer.json()["detail"] == reason
    assert [c.size for c in map(Checkpoint.of, texts(data))] == [SIGNED]
    assert "\n" not in reason
    return reason


def texts(data: Path) -> list[str]:
    notes = (data / "checkpoints" / "history").read_text().split(END.decode())[:-1]
    return [note.rpartition("\n\n")[0] + "\n" for note in notes]


def an_id(node: Node) -> str:
    with node.projector.cursor() as cursor:
        ((found,),) = cursor.execute("select replace(id::varchar, '-', '') from pii.events limit 1").fetchall()
    return str(found)


def test_a_mirror_that_was_changed_under_a_checkpoint_is_not_signed_over(data: Path) -> None:
    with_views(data, "update pii.events set hash = unhex(sha256('another')) where seq = 100")
    with_views(data, "delete from ops.tree")  # whoever changes a row can change this as well
    assert "not the one that the last checkpoint was signed over" in refusal_of(data)


def test_a_kept_tree_that_was_damaged_is_made_anew_from_the_mirror(data: Path) -> None:
    """With a word in the log: the mirror has the signed root, so it is the tree that was wrong."""
    with_views(data, "update ops.tree set hash = unhex(sha256('another')) where number = 1")
    with node_of(data) as (node, http):
        until(lambda: len(findings(node, signed_in(data)[-1])) == 0)
        node.wait_for(people(http, 300), 60.0)
        assert node.unready() == []
    assert [c.size for c in signed_in(data)] == [SIGNED, SIGNED + 300]


def test_events_that_the_mirror_has_lost_are_missed(data: Path) -> None:
    back = "update ops.checkpoint set seq = 500, events = 500, views_seq = 500"
    with_views(data, "delete from pii.events where seq > 500", back)
    with node_of(data) as (node, _):
        until(lambda: node.projector.checkpoint == SIGNED)  # the ledger still has them
        until(lambda: node.unready() == [])
    with_views(data, "delete from pii.events where seq = 300", "delete from ops.tree")
    with pytest.raises(NodeError):
        node_of(data).__enter__()


def test_another_key_signs_nothing_over_the_first_ones_log(data: Path) -> None:
    (data / "signing.key").write_bytes(b"A" * 43 + b"=\n")
    assert "not signed with this node's key" in refusal_of(data)


def test_a_lost_key_stops_the_node_with_the_way_out(data: Path) -> None:
    (data / "signing.key").unlink()
    with pytest.raises(NodeError, match=r"signing\.key is missing"):
        node_of(data).__enter__()
    (data / "checkpoints").rename(data.parent / "moved-away")
    with node_of(data):
        pass
    assert [c.size for c in signed_in(data)] == [SIGNED]


def test_another_name_is_another_log(data: Path) -> None:
    assert "RAPPORT_LOG_ORIGIN says example.com/other" in refusal_of(data, log_origin="example.com/other")


def test_a_forged_last_checkpoint_is_not_gone_on_from(data: Path) -> None:
    history = data / "checkpoints" / "history"
    history.write_text(history.read_text().replace(f"\n{SIGNED}\n", f"\n{SIGNED - 1}\n"))
    with node_of(data) as (node, _):
        until(lambda: node.notary.failure is not None)
        assert "was changed since" in str(node.notary.failure)


def test_the_tree_is_verified_against_mirror_ledger_and_checkpoint(data: Path) -> None:
    (signed,) = signed_in(data)
    with node_of(data) as (node, _):
        until(lambda: node.projector.checkpoint == SIGNED)
        assert findings(node, signed) == []
        with node.projector.cursor() as cursor:
            cursor.execute("update ops.tree set hash = unhex(sha256('another')) where number = 0")
        assert [(f.kind, f.seq, f.last_seq) for f in findings(node, signed)] == [(Kind.TREE, 1, 256)]
        with node.projector.cursor() as cursor:
            cursor.execute("update pii.events set hash = unhex(sha256('another')) where seq = 400")
        found = findings(node, signed)
        assert {(f.kind, f.seq, f.last_seq) for f in found} == {
            (Kind.TREE, 1, 256),
            (Kind.TREE, 257, 512),
            (Kind.TREE, 1, SIGNED),
            (Kind.ALTERED, 400, 400),
            (Kind.MIRROR, 400, 400),
        }


# ── evidence ───────────────────────────────────────────────────────────────────────────────────────


def merged_pair(http: httpx.Client) -> tuple[str, str]:
    """Two records of one person; the opt-out is on the duplicate."""
    one, other = somebody(), somebody()
    record(
        http,
        did("sourced", one, source="linkedin", first_name="Ada"),
        did("basis_recorded", one, basis="legitimate_interest", lia="LIA-1"),
        did("sourced", other, source="ats", first_name="Ada"),
        did("tagged", one, tag="analyst"),
        did("merged", other, into={"email": one}),
        did("opted_out", other, channel="email", method="reply"),
    )
    return one, other


def test_the_evidence_about_a_merged_person_holds_every_event_of_both_records(
    here: tuple[Node, httpx.Client], tmp_path: Path
) -> None:
    _, http = here
    one, other = merged_pair(http)
    answer = http.get(f"/v1/compliance/candidates/{other}/evidence")
    assert answer.headers["content-type"] == "application/json"
    found = verify_evidence(answer.content, check)
    assert sorted(body["type"] for body in found.stored.values()) == [
        *("basis_recorded", "merged", "opted_out", "sourced", "sourced", "tagged")
    ]
    trail = http.get(f"/v1/compliance/candidates/{one}/trail", params={"as_of": found.evidence.as_of}).json()
    assert found.evidence.trail == trail
    assert by_script(answer.content, tmp_path, found.key.vkey)[0] == 0


def test_evidence_is_as_of_and_as_known_at(here: tuple[Node, httpx.Client]) -> None:
    _, http = here
    _, other = merged_pair(http)
    whole = proved(http, other)
    merge = next(e for e in whole.evidence.events if whole.stored[e.seq]["type"] == "merged")
    before = next(e for e in whole.evidence.events if e.record == merge.record and e.version == merge.version - 1)
    then = proved(http, other, known_at=before.recorded_at)
    assert [e.seq for e in then.evidence.events] == [before.seq]
    assert then.evidence.candidate == merge.record
    early = proved(http, other, as_of="2020-01-01T00:00:00Z")
    assert len(early.evidence.events) == len(whole.evidence.events)
    assert early.readable is not None
    assert early.readable.events == []


def test_before_there_was_anything_there_is_nothing_to_prove(here: tuple[Node, httpx.Client]) -> None:
    _, http = here
    one, _ = merged_pair(http)
    answer = http.get(f"/v1/compliance/candidates/{one}/evidence", params={"known_at": "2020-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rapport:problem:not-provable")
    assert http.get(f"/v1/compliance/candidates/{somebody()}/evidence").status_code == 404


def test_of_a_person_whose_key_was_destroyed_the_envelope_is_proved(
    here: tuple[Node, httpx.Client], tmp_path: Path
) -> None:
    """And everybody else's trail as before: what was signed stays signed."""
    node, http = here
    one, _ = merged_pair(http)
    neighbour, _ = merged_pair(http)
    before = proved(http, one)
    neighbours = http.get(f"/v1/compliance/candidates/{neighbour}/evidence").content
    records = [held.record for held in before.evidence.records]
    for id_ in records:
        Bucket(node.connection, "keys").delete(f"candidate-{id_}")  # leaves the mark of a key that was destroyed
        node.keyring.forget(f"candidate-{id_}")
    for id_ in records:
        answer = http.get(f"/v1/compliance/candidates/{id_}/evidence")
        after = verify_evidence(answer.content, check)
        assert after.evidence.events[0].stored == before.evidence.events[0].stored
        assert [e.hash for e in after.evidence.events] == [e.hash for e in before.evidence.events]
        assert after.readable is None
        assert by_script(answer.content, tmp_path)[0] == 0
    assert verify_evidence(neighbours, check).readable is not None
    assert proved(http, neighbour).readable is not None


def test_a_body_that_does_not_lead_to_the_checkpoint_is_not_handed_out(tmp_path: Path) -> None:
    """The mirror's row of an event was changed after the tree had taken it in."""
    with node_of(tmp_path / "data") as (node, http):
        one, _ = merged_pair(http)
        proved(http, one)
        with node.projector.cursor() as cursor:
            cursor.execute("update pii.events set body = 'another'::blob || body where type = 'tagged'")
        answer = http.get(f"/v1/compliance/candidates/{one}/evidence")
        assert answer.status_code == 409
        assert "row of event 3 was changed" in answer.json()["detail"]


def test_evidence_asked_for_while_much_is_recorded_always_verifies(here: tuple[Node, httpx.Client]) -> None:
    _, http = here
    one, _ = merged_pair(http)
    stopping = threading.Event()

    def write() -> None:
        while not stopping.is_set():
            record(http, did("replied", one), *(did("sourced", somebody()) for _ in range(20)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [proved(http, one) for _ in range(50 if SOAK else 4)]
    finally:
        stopping.set()
        writer.join()
    counts = [len(verified.evidence.events) for verified in found]
    assert counts == sorted(counts)
    sizes = [verified.checkpoint.size for verified in found]
    assert sizes == sorted(sizes)
