"""Recording on a real server: two nodes on one ledger, and what must hold whoever writes first."""

from __future__ import annotations

import base64
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from api.node import Node
from domain import errors
from domain.candidate import CandidateEvent, Emailed, Merged, Unmerged, statement
from domain.consent import STATEMENT_TYPES, standing
from domain.event import Recorded, utc_now
from domain.identity import Edge, Forest
from domain.interaction import Interaction, Reference, parse
from domain.policy import Channel
from infra import deciding
from infra.crypto.claims import Claims
from infra.crypto.keyring import Keyring
from infra.crypto.master import LocalMasterKey
from infra.crypto.sealing import new_key
from infra.identifiers import identifiers_of
from infra.jetstream import Bucket, Connection, JetStreamApplicationRecorder, declare_stream
from infra.ledger import Ledger
from infra.logging import configure
from infra.nats_server import EmbeddedServer
from infra.recording import Accepted, Duplicate, Outcome, Recording, Rejected
from infra.settings import Settings

DAY = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
SELF = "candidate:self"


@dataclass(frozen=True)
class Writer:
    """What a node writes with: a connection, keys, claims and a memory of its own. The merges come from the views
    of another node, which wait for everything in the ledger, whoever wrote it."""

    connection: Connection
    keyring: Keyring
    ledger: Ledger
    recording: Recording
    forest_of: Callable[[str], Forest]


Nodes = tuple[Node, Writer]


@contextmanager
def writer(url: str, master: LocalMasterKey, forest_of: Callable[[str], Forest]) -> Iterator[Writer]:
    with Connection(url) as connection:
        keyring = Keyring(Bucket(connection, "keys"), master)
        ledger = Ledger(JetStreamApplicationRecorder(connection, declare_stream(connection)), keyring)
        claims = Claims(Bucket(connection, "claims"), keyring.pepper)
        with closing(Recording(ledger, claims, forest_of)) as recording:
            yield Writer(connection, keyring, ledger, recording, forest_of)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A node, and the write side of a second one, on one server and with one master key."""
    configure("error")
    folder = tmp_path_factory.mktemp("two-nodes")
    key = new_key()
    secret = SecretStr(base64.b64encode(key).decode())
    with (
        EmbeddedServer(folder / "nats") as server,
        Node(
            Settings(data=folder / "node", nats_url=server.url, nats_system_url=server.system_url, master_key=secret)
        ) as node,
        writer(server.url, LocalMasterKey(key), node.forest_of) as other,
    ):
        yield node, other


@pytest.fixture(autouse=True)
def _the_views_go_on(nodes: Nodes) -> Iterator[None]:
    """Else every later test would wait for them in vain."""
    yield
    assert nodes[0].unready() == [], repr(nodes[0].projecting.failure)


@pytest.fixture
def node(nodes: Nodes) -> Node:
    return nodes[0]


def somebody() -> str:
    """An address that nobody has yet."""
    return f"{uuid4().hex[:12]}@example.com"


def did(type_: str, who: str | dict[str, str], at: datetime = DAY, **fields: Any) -> dict[str, Any]:
    """An interaction; fields of the envelope by name, all others as `data`."""
    envelope = {k: fields.pop(k) for k in ("id", "actor", "source", "channel") if k in fields}
    return {
        "id": uuid4().hex,
        "type": type_,
        "candidate": {"email": who} if isinstance(who, str) else who,
        "occurred_at": at.isoformat(),
        "data": fields,
    } | envelope


def record(recording: Node | Writer | Recording, *documents: dict[str, Any], facts: bool = True) -> list[Outcome]:
    recording = recording if isinstance(recording, Recording) else recording.recording
    return recording.record([parse(d) for d in documents], facts=facts)


def accepted(recording: Node | Writer | Recording, *documents: dict[str, Any], facts: bool = True) -> list[Accepted]:
    outcomes = record(recording, *documents, facts=facts)
    taken = [o for o in outcomes if isinstance(o, Accepted)]
    assert taken == outcomes
    return taken


def insist(node: Node | Writer, document: dict[str, Any]) -> Accepted | Duplicate:
    """Sends again, as the answer says, while others keep changing the candidate."""
    while isinstance(outcome := record(node, document)[0], Rejected):
        assert outcome.code == "concurrent-change", outcome
    return outcome


def refusal(node: Node | Writer | Recording, document: dict[str, Any], *, facts: bool = True) -> str:
    (outcome,) = record(node, document, facts=facts)
    assert isinstance(outcome, Rejected), outcome
    return outcome.code


def sourced(node: Node | Writer, who: str | dict[str, str] | None = None) -> str:
    """The id of a new candidate."""
    return accepted(node, did("sourced", who or somebody()))[0].candidate_id


def history(node: Node | Writer, candidate_id: str) -> list[Recorded[CandidateEvent]]:
    return node.ledger.histories([candidate_id])[candidate_id]


def types(node: Node | Writer, candidate_id: str) -> list[str]:
    found = history(node, candidate_id)
    assert [r.version for r in found] == list(range(1, len(found) + 1)), "versions have gaps"
    return [r.event.type for r in found]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The results of all calls, begun at the same moment."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class Interrupted(Exception):
    """Stands for the moment at which a node dies."""


class PausingClaims(Claims):
    """Real claims that run something just before or just after claiming, to set up one exact interleaving."""

    before: Callable[[], object] = staticmethod(lambda: None)
    after: Callable[[], object] = staticmethod(lambda: None)

    def claim(self, wanted: dict[str, str]) -> dict[str, str]:
        if not wanted:
            return super().claim(wanted)
        before, self.before = self.before, lambda: None
        before()
        held = super().claim(wanted)
        after, self.after = self.after, lambda: None
        after()
        return held


class HalfwayBucket:
    """The real bucket of claims; between the first claim of a call and the others it runs something."""

    def __init__(self, bucket: Bucket, meanwhile: Callable[[], object]) -> None:
        self._bucket = bucket
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def create_many(self, items: dict[str, bytes]) -> dict[str, bool]:
        (first, value), *others = items.items()
        made = self._bucket.create_many({first: value})
        meanwhile, self._meanwhile = self._meanwhile, lambda: None
        meanwhile()
        return made | (self._bucket.create_many(dict(others)) if others else {})


@contextmanager
def another(node: Node | Writer, claims: Callable[[Bucket, bytes], Claims]) -> Iterator[tuple[Recording, Any]]:
    """A second write side on the node's ledger, with claims of its own making."""
    bucket = Bucket(node.connection, "claims")
    made = claims(bucket, node.keyring.pepper)
    with closing(Recording(node.ledger, made, node.forest_of)) as recording:
        yield recording, made


# ── one person, one candidate; one interaction, one event ──────────────────────────────────────────


def test_one_address_sourced_by_16_threads_of_a_node_is_one_candidate_and_none_loses(node: Node) -> None:
    who = somebody()
    ids = {o.candidate_id for (o,) in at_once(*[lambda: accepted(node, did("sourced", who))] * 16)}
    assert len(ids) == 1
    assert types(node, ids.pop()) == ["sourced"] * 16


def test_one_address_sourced_by_16_threads_on_two_nodes_is_one_candidate(nodes: Nodes) -> None:
    who = somebody()
    sent = [did("sourced", who, id=f"crm:{n}") for n in range(16)]
    ids = {o.candidate_id for o in at_once(*[lambda n=n: insist(nodes[n % 2], sent[n]) for n in range(16)])}
    assert len(ids) == 1
    id_ = ids.pop()
    assert types(nodes[0], id_) == ["sourced"] * 16
    assert {r.event.interaction for r in history(nodes[1], id_)} == {d["id"] for d in sent}


def test_a_person_with_four_identifiers_sourced_by_two_nodes_at_once_is_one_candidate(nodes: Nodes) -> None:
    for n in range(5):
        who = {
            "email": somebody(),
            "phone": f"+4420{uuid4().int % 10**8:08}",
            "profile": f"https://linkedin.com/in/{uuid4().hex}",
            "ref": f"ats:{uuid4().hex}",
        }
        outcomes = at_once(*[lambda k=k, w=who: record(nodes[k % 2], did("sourced", w)) for k in range(4)])
        ids = {o.candidate_id for (o,) in outcomes if isinstance(o, Accepted)}
        assert (len(ids), sum(isinstance(o, Accepted) for (o,) in outcomes)) == (1, 4), (n, outcomes)


def test_claims_left_by_two_nodes_that_died_do_not_lock_the_person_out(nodes: Nodes) -> None:
    """Both died between claiming one identifier each and the event: nobody answers to either identifier. Once the
    claims have had their time, one node takes them over, and the other one notices."""
    here, there = nodes
    who = {"email": somebody(), "ref": f"ats:{uuid4().hex}"}
    for identifier in identifiers_of(Reference(**who)):
        here.recording._claims.claim({identifier: uuid4().hex})
    for node in nodes:
        with pytest.raises(errors.UnresolvedCandidate):
            node.recording.resolve(Reference(**who))
    with another(there, lambda bucket, pepper: Claims(bucket, pepper, lease=timedelta(0))) as (recording, _):
        first, second = accepted(recording, did("sourced", who), did("tagged", who, tag="go"))
    assert first.candidate_id == second.candidate_id
    for node in nodes:
        for name, value in who.items():
            assert node.recording.resolve(Reference(**{name: value})) == first.candidate_id
        (more,) = accepted(node, did("tagged", {"ref": who["ref"]}, tag="rust"))
        assert more.candidate_id == first.candidate_id


def test_a_node_that_loses_one_of_two_identifiers_while_claiming_them_goes_on_with_the_winner(nodes: Nodes) -> None:
    """The first identifier is its own already when the other node sources the person by the second one."""
    here, there = nodes
    who = {"email": somebody(), "ref": f"ats:{uuid4().hex}"}
    won: list[str] = []

    def claims(bucket: Bucket, pepper: Callable[[], bytes]) -> Claims:
        return Claims(HalfwayBucket(bucket, lambda: won.append(sourced(there, {"ref": who["ref"]}))), pepper)

    with another(here, claims) as (recording, _):
        (outcome,) = accepted(recording, did("sourced", who))
    assert [outcome.candidate_id] == won
    for node in nodes:
        assert node.recording.resolve(Reference(email=who["email"])) == outcome.candidate_id


def test_the_same_interaction_is_one_event_sequentially_in_one_call_and_across_nodes(nodes: Nodes) -> None:
    who = somebody()
    sent = did("sourced", who, id="crm:1")
    first, *others = record(nodes[0], sent, sent, sent)
    assert isinstance(first, Accepted)
    assert others == [Duplicate(first.candidate_id)] * 2
    assert record(nodes[0], sent) == record(nodes[1], sent) == [Duplicate(first.candidate_id)]
    assert types(nodes[1], first.candidate_id) == ["sourced"]


def test_the_same_interaction_sent_by_16_threads_on_two_nodes_is_one_event(nodes: Nodes) -> None:
    who = somebody()
    id_ = sourced(nodes[0], who)
    sent = did("tagged", who, id="crm:2", tag="python")
    outcomes = at_once(*[lambda n=n: insist(nodes[n % 2], sent) for n in range(16)])
    assert Counter(map(type, outcomes)) == {Accepted: 1, Duplicate: 15}
    assert types(nodes[0], id_) == ["sourced", "tagged"]


def test_an_interaction_without_id_is_known_again_by_its_content(node: Node) -> None:
    sent = did("sourced", somebody())
    del sent["id"]
    (first,) = accepted(node, sent)
    assert record(node, dict(sent)) == [Duplicate(first.candidate_id)]
    assert isinstance(record(node, sent | {"source": "other"})[0], Accepted)


def test_outcomes_come_in_the_order_of_the_interactions(node: Node) -> None:
    a, b = somebody(), somebody()
    known = did("tagged", a, tag="go")
    outcomes = record(
        node,
        did("tagged", a, tag="early"),
        did("sourced", a),
        did("sourced", b),
        known,
        did("tagged", {"email": "not an address"}, tag="x"),
        known,
        did("tagged", b, tag="rust"),
    )
    assert [type(o) for o in outcomes] == [Rejected, Accepted, Accepted, Accepted, Rejected, Duplicate, Accepted]
    assert [o.code for o in outcomes if isinstance(o, Rejected)] == ["unresolved-candidate", "invalid-interaction"]
    assert [o.version for o in outcomes if isinstance(o, Accepted)] == [1, 1, 2, 2]


# ── who is meant ───────────────────────────────────────────────────────────────────────────────────


def test_every_spelling_of_every_identifier_of_a_record_finds_it(node: Node) -> None:
    tail = uuid4().hex[:10]
    digits = f"{uuid4().int % 10**8:08}"
    id_ = sourced(
        node,
        {
            "email": f"Ada.{tail}@Example.com",
            "phone": f"+44 20 {digits[:4]} {digits[4:]}",
            "profile": f"https://www.linkedin.com/in/Ada-{tail}/?trk=x",
            "ref": f"Greenhouse:{tail}",
        },
    )
    for spelling in (
        {"email": f"ADA.{tail}@example.COM"},
        {"phone": f"+4420{digits}"},
        {"profile": f"linkedin.com/in/ada-{tail}"},
        {"ref": f"greenhouse:{tail}"},
        {"id": id_},
    ):
        assert node.recording.resolve(Reference(**spelling)) == id_


def test_an_identifier_named_later_finds_the_record_too(node: Node) -> None:
    who, ref = somebody(), f"ats:{uuid4().hex}"
    id_ = sourced(node, who)
    accepted(node, did("tagged", {"email": who, "ref": ref}, tag="go"))
    assert accepted(node, did("tagged", {"ref": ref}, tag="rust"))[0].candidate_id == id_


@pytest.mark.parametrize("type_", ["opted_out", "complained", "consent_withdrawn"])
def test_what_is_said_against_contact_is_recorded_of_everybody_it_may_be_about(nodes: Nodes, type_: str) -> None:
    """Once of each person, on whichever node and however often; an API that can ask back refuses it."""
    node, other = nodes
    who, ref, profile = somebody(), f"ats:{uuid4().hex}", f"https://example.com/{uuid4().hex}"
    ids = [sourced(node, who), sourced(node, {"ref": ref})]
    same = sourced(node, {"profile": profile})
    node.wait_for(accepted(node, did("merged", {"id": same}, into=ids[0]))[0].seq)
    said = did(type_, {"email": who, "ref": ref, "profile": profile, "phone": "+44 20 7946 0018"})
    assert refusal(node, said, facts=False) == "ambiguous-candidate"
    (outcome,) = accepted(other, said)
    assert outcome.candidate_id in ids
    for one in (node, other):
        assert [type(o) for o in record(one, said, said)] == [Duplicate, Duplicate]
    assert [types(node, id_).count(type_) for id_ in (*ids, same)].count(1) == 2
    assert sum(types(node, id_).count(type_) for id_ in (*ids, same)) == 2


def test_what_is_said_against_contact_of_several_is_of_all_when_others_write_meanwhile(nodes: Nodes) -> None:
    node, other = nodes
    who, ref = somebody(), f"ats:{uuid4().hex}"
    ids = [sourced(node, who), sourced(other, {"ref": ref})]
    said = [did("opted_out", {"email": who, "ref": ref}) for _ in range(6)]
    at_once(
        *(partial(insist, n, d) for n, d in zip([node, other] * 3, said, strict=True)),
        *(partial(insist, n, did("tagged", {"id": id_}, tag="x")) for n in nodes for id_ in ids),
    )
    assert [types(node, id_).count("opted_out") for id_ in ids] == [6, 6]


def test_an_opt_out_told_again_holds_anew_only_if_it_was_taken_back(nodes: Nodes) -> None:
    node, other = nodes
    who = somebody()
    id_ = sourced(node, who)
    said = did("opted_out", who, at=DAY)

    def told(on: Node, hours: int) -> Outcome:
        at = (DAY + timedelta(hours=hours)).isoformat()
        return on.recording.record([parse(said | {"occurred_at": at})], facts=True, untimed=[True])[0]

    assert [type(told(on, 0)) for on in (node, other)] == [Accepted, Duplicate]
    assert isinstance(told(other, 1), Duplicate)
    accepted(node, did("opted_in", who, at=DAY + timedelta(hours=2), evidence="a call"))
    assert [type(told(other, hours)) for hours in (1, 3, 3, 4)] == [Duplicate, Accepted, Duplicate, Duplicate]
    assert [type(told(node, hours)) for hours in (3, 5)] == [Duplicate, Duplicate]
    assert types(node, id_).count("opted_out") == 2
    assert history(node, id_)[-1].event.occurred_at == DAY + timedelta(hours=3)
    together = [
        parse(did("opted_out", who, at=DAY, id="again") | {"occurred_at": at.isoformat()})
        for at in (DAY, DAY + timedelta(hours=1), DAY + timedelta(hours=3))
    ]
    outcomes = node.recording.record(together, facts=True, untimed=[True] * 3)
    assert [type(outcome) for outcome in outcomes] == [Accepted, Duplicate, Duplicate]


def test_an_opt_out_from_a_clock_days_ahead_is_recorded_where_it_is_a_fact(node: Node) -> None:
    who = somebody()
    ahead = did("opted_out", who, at=datetime.now(UTC) + timedelta(days=9))
    sourced(node, who)
    assert refusal(node, ahead, facts=False) == "occurred-in-future"
    accepted(node, ahead)
    assert refusal(node, did("opened", who, at=datetime.now(UTC) + timedelta(days=9))) == "occurred-in-future"


def test_identifiers_of_two_candidates_are_ambiguous_and_nothing_is_recorded(node: Node) -> None:
    who, ref = somebody(), f"ats:{uuid4().hex}"
    ids = [sourced(node, who), sourced(node, {"ref": ref})]
    assert refusal(node, did("sourced", {"email": who, "ref": ref})) == "ambiguous-candidate"
    assert [types(node, i) for i in ids] == [["sourced"], ["sourced"]]
    with pytest.raises(errors.AmbiguousCandidate):
        node.recording.resolve(Reference(email=who, ref=ref))


def test_identifiers_of_two_records_of_one_merged_person_are_accepted(node: Node) -> None:
    who, ref = somebody(), f"ats:{uuid4().hex}"
    survivor, duplicate = sourced(node, who), sourced(node, {"ref": ref})
    accepted(node, did("merged", {"ref": ref}, into={"email": who}))
    (both,) = accepted(node, did("tagged", {"email": who, "ref": ref}, tag="go"))
    assert both.candidate_id == survivor
    assert types(node, duplicate) == ["sourced", "merged"]


def test_an_event_naming_both_records_of_a_person_leaves_each_identifier_with_its_record(node: Node) -> None:
    """Else `unmerge` could not restore both exactly: the survivor would keep an identifier of the other."""
    who, ref = somebody(), f"ats:{uuid4().hex}"
    survivor = sourced(node, who)
    sourced(node, {"ref": ref})
    accepted(node, did("merged", {"ref": ref}, into={"email": who}))
    accepted(node, did("tagged", {"email": who, "ref": ref}, tag="go"))
    claimed = {i for r in history(node, survivor) for i in r.event.identifiers}
    assert claimed == {f"email:{who}"}


def test_a_merge_counts_for_what_follows_in_the_same_call(node: Node) -> None:
    """Else sending a file again would record what its first import refused."""
    who, ref = somebody(), f"ats:{uuid4().hex}"
    sent = [
        did("sourced", who),
        did("sourced", {"ref": ref}),
        did("merged", {"ref": ref}, into={"email": who}),
        did("tagged", {"email": who, "ref": ref}, tag="go"),
    ]
    accepted(node, *sent)
    assert {type(o) for o in record(node, *sent)} == {Duplicate}


@pytest.mark.parametrize("type_", ["tagged", "opened", "opted_out", "emailed"])
def test_an_unknown_person_is_made_by_other_types_only_with_a_source(node: Node, type_: str) -> None:
    fields: dict[str, Any] = {"tag": "go"} if type_ == "tagged" else {}
    who = somebody()
    assert refusal(node, did(type_, who, **fields)) == "unresolved-candidate"
    (made,) = accepted(node, did(type_, who, source="sendgrid", **fields))
    assert types(node, made.candidate_id) == [type_]
    assert node.recording.resolve(Reference(email=who)) == made.candidate_id


def test_an_unknown_id_is_refused_even_for_sourced(node: Node) -> None:
    assert refusal(node, did("sourced", {"id": uuid4().hex}, source="crm")) == "unresolved-candidate"


# ── merges ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by", ["email", "ref", "id", "text"])
def test_merge_and_unmerge_by_any_reference(node: Node, by: str) -> None:
    who = {"email": somebody(), "ref": f"ats:{uuid4().hex}"}
    survivor, duplicate = sourced(node, who), sourced(node)
    into: Any = {"id": {"id": survivor}, "text": survivor}.get(by) or {by: who[by]}
    accepted(node, did("merged", {"id": duplicate}, into=into))
    assert node.forest_of(duplicate).canonical(duplicate) == survivor
    accepted(node, did("unmerged", {"id": duplicate}, **({"into": into} if by != "text" else {})))
    assert node.forest_of(duplicate).canonical(duplicate) == duplicate
    assert types(node, duplicate) == ["sourced", "merged", "unmerged"]


def test_merges_that_make_no_sense_are_refused(node: Node) -> None:
    a, b, c = sourced(node), sourced(node), sourced(node)
    accepted(node, did("merged", {"id": b}, into=a))
    for document in (
        did("merged", {"id": c}, into=b),  # merged away
        did("merged", {"id": b}, into=c),  # merged already
        did("merged", {"id": a}, into=a),  # itself
        did("merged", {"id": c}, into={"email": somebody()}),  # nobody
        did("merged", {"id": c}, into=uuid4().hex),  # nobody
        did("unmerged", {"id": c}),  # not merged
        did("unmerged", {"id": b}, into=c),  # not into that one
    ):
        assert refusal(node, document) == "merge-refused", document
    assert refusal(node, did("merged", {"id": c})) == "invalid-interaction"
    assert refusal(node, did("merged", {"id": c}, into="nonsense")) == "invalid-interaction"
    assert [types(node, i) for i in (a, b, c)] == [["sourced"], ["sourced", "merged"], ["sourced"]]


def test_merging_into_a_candidate_that_the_other_node_merged_away_is_refused(nodes: Nodes) -> None:
    here, there = nodes
    a, b, c = sourced(here), sourced(here), sourced(here)
    accepted(there, did("merged", {"id": b}, into=a))
    assert refusal(here, did("merged", {"id": c}, into=b)) == "merge-refused"


def test_what_the_other_node_undid_is_no_reason_to_refuse(nodes: Nodes) -> None:
    here, there = nodes
    a, b, c = sourced(here), sourced(here), sourced(here)
    accepted(here, did("merged", {"id": b}, into=a))
    accepted(there, did("unmerged", {"id": b}))
    accepted(here, did("merged", {"id": b}, into=c))
    assert types(there, b) == ["sourced", "merged", "unmerged", "merged"]


def test_an_event_for_a_merged_duplicate_is_its_own_and_shows_on_the_survivor(node: Node) -> None:
    who, other = somebody(), somebody()
    survivor, duplicate = sourced(node, who), sourced(node, other)
    accepted(node, did("merged", {"email": other}, into={"email": who}))
    (reply,) = accepted(node, did("replied", other, text="Yes"))
    assert reply.candidate_id == duplicate
    assert types(node, survivor) == ["sourced"]
    node.wait_for(reply.seq)
    with node.projector.cursor() as cursor:
        rows = cursor.execute(
            "select seq from engagement_score where canonical_id = ? and type = 'replied'", [survivor]
        ).fetchall()
    assert rows == [(reply.seq,)]


def test_nobody_is_merged_into_a_candidate_that_was_not_recorded(node: Node) -> None:
    """The survivor's only event is too large for the ledger; the merge behind it in the same call has no target."""
    who, duplicate = somebody(), sourced(node)
    huge = did("sourced", who, skills=[f"{n:06}" + "x" * 290 for n in range(30_000)])
    outcomes = record(node, huge, did("merged", {"id": duplicate}, into={"email": who}))
    assert [type(o) for o in outcomes] == [Rejected, Rejected], outcomes
    assert types(node, duplicate) == ["sourced"]


def test_nobody_is_merged_into_an_id_that_lost_the_race_for_its_address(node: Node) -> None:
    who, duplicate = somebody(), sourced(node)
    others: list[str] = []
    with another(node, PausingClaims) as (recording, claims):
        claims.before = lambda: others.append(sourced(node, who))
        record(recording, did("sourced", who), did("merged", {"id": duplicate}, into={"email": who}))
    merges = [r.event.into for r in history(node, duplicate) if isinstance(r.event, Merged)]
    assert merges == others


def test_an_event_too_large_is_refused_alone(node: Node) -> None:
    """Accepted lines stay accepted: its neighbours on the same candidate are recorded."""
    who = somebody()
    huge = did("profile_corrected", who, skills=[f"{n:06}" + "x" * 290 for n in range(30_000)])
    outcomes = record(node, did("sourced", who), huge, did("tagged", who, tag="go"))
    assert [type(o) for o in outcomes] == [Accepted, Rejected, Accepted], [str(o)[:200] for o in outcomes]
    assert isinstance(outcomes[1], Rejected)
    assert outcomes[1].code in ("too-large", "invalid-interaction")
    assert "candidate-" not in outcomes[1].reason, "how the ledger names an aggregate helps nobody"


# ── two nodes, one candidate ───────────────────────────────────────────────────────────────────────


def test_two_nodes_writing_one_candidate_lose_and_double_nothing(nodes: Nodes) -> None:
    who = somebody()
    id_ = sourced(nodes[0], who)
    sent: list[list[dict[str, Any]]] = [
        [did("tagged", who, tag=f"{n}-{i}", id=f"{n}-{i}") for i in range(10)] for n in range(4)
    ]

    def send(n: int) -> None:
        for start in range(0, len(sent[n]), 2):
            some = sent[n][start : start + 2]
            while any(isinstance(o, Rejected) for o in record(nodes[n % 2], *some)):
                pass  # concurrent-change is an invitation to send again

    at_once(*[lambda n=n: send(n) for n in range(4)])
    types(nodes[0], id_)
    tags = [r.event.interaction for r in history(nodes[1], id_)[1:]]
    assert Counter(tags) == Counter(d["id"] for each in sent for d in each)
    for n in range(4):
        assert [t for t in tags if t and t.startswith(f"{n}-")] == [d["id"] for d in sent[n]], "out of order"


def test_a_state_out_of_date_ends_in_the_right_event(nodes: Nodes) -> None:
    here, there = nodes
    who = somebody()
    id_ = sourced(here, who)
    for n in range(3):
        accepted(there, did("tagged", who, tag=f"there-{n}"))
    (late,) = accepted(here, did("tagged", who, tag="here"))
    assert late.version == 5
    assert types(there, id_) == ["sourced", *["tagged"] * 4]


def test_a_request_that_the_other_node_recorded_is_known_here(nodes: Nodes) -> None:
    """No refusal rests on memory."""
    here, there = nodes
    who = somebody()
    sourced(here, who)
    accepted(here, did("tagged", who, tag="at hand"))
    accepted(there, did("request_received", who, request="7" * 32, asks_for="access"))
    accepted(here, did("request_closed", who, at=DAY + timedelta(days=1), request="7" * 32, outcome="fulfilled"))


def test_a_fault_with_one_callers_interaction_is_that_callers_alone(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else was settled together with it has theirs recorded, once."""
    people = [somebody() for _ in range(8)]
    for who in people:
        sourced(node, who)
    real = deciding.event_of

    def faulty(interaction: Interaction, **more: Any) -> CandidateEvent:
        if interaction.type == "tagged":
            raise KeyError("a fault of ours")
        return real(interaction, **more)

    monkeypatch.setattr(deciding, "event_of", faulty)

    def fail() -> None:
        with pytest.raises(KeyError):
            record(node, did("tagged", people[0], tag="x"))

    for _ in range(3):
        said = [partial(record, node, did("opted_out", who)) for who in people]
        assert all(o is None or not isinstance(o[0], Rejected) for o in at_once(fail, *said))
    for who in people:
        assert types(node, node.recording.resolve(Reference(email=who))).count("opted_out") == 3


def test_a_claim_whose_event_came_later_from_the_other_node_resolves(nodes: Nodes) -> None:
    """Asking between claim and event must not be remembered as "nobody"."""
    here, there = nodes
    who = somebody()

    def ask() -> None:
        with pytest.raises(errors.UnresolvedCandidate):
            here.recording.resolve(Reference(email=who))

    with another(there, PausingClaims) as (recording, claims):
        claims.after = ask
        (made,) = accepted(recording, did("sourced", who))
    assert here.recording.resolve(Reference(email=who)) == made.candidate_id
    assert isinstance(record(here, did("tagged", {"id": made.candidate_id}, tag="go"))[0], Accepted)


def test_a_crash_between_claim_and_event_leaves_nobody_and_the_next_attempt_goes_on(node: Node) -> None:
    who = somebody()

    def die() -> None:
        raise Interrupted

    with another(node, PausingClaims) as (recording, claims):
        claims.after = die
        with pytest.raises(Interrupted):
            record(recording, did("sourced", who))
    assert refusal(node, did("tagged", who, tag="go")) == "unresolved-candidate"
    id_ = sourced(node, who)
    assert types(node, id_) == ["sourced"]
    assert node.recording.resolve(Reference(email=who)) == id_


# ── intentions and facts ───────────────────────────────────────────────────────────────────────────


def contactable(node: Node) -> str:
    """The address of somebody who may be written to."""
    who = somebody()
    accepted(node, did("sourced", who), did("basis_recorded", who, basis="legitimate_interest", lia="L-1"))
    return who


def later(days: int) -> datetime:
    return DAY + timedelta(days=days)


def test_an_intention_needs_a_basis_and_a_fact_does_not(node: Node) -> None:
    who = somebody()
    sourced(node, who)
    assert refusal(node, did("emailed", who, later(1)), facts=False) == "not-contactable"
    assert refusal(node, did("messaged", who, later(1)), facts=False) == "not-contactable"
    accepted(node, did("emailed", who, later(1)), facts=True)
    for type_ in ("delivered", "opened", "replied", "bounced", "complained"):
        fields = {"kind": "soft"} if type_ == "bounced" else {}
        accepted(node, did(type_, who, later(1), **fields), facts=False)


def test_an_opt_out_on_the_other_node_stops_an_intention_here(nodes: Nodes) -> None:
    here, there = nodes
    who = contactable(here)
    accepted(here, did("emailed", who, later(1)), facts=False)
    accepted(there, did("opted_out", who, later(2), channel="email", actor=SELF))
    assert refusal(here, did("emailed", who, later(3)), facts=False) == "not-contactable"
    accepted(here, did("messaged", who, later(3)), facts=False)
    accepted(here, did("emailed", who, later(3)), facts=True)


def test_an_opt_in_on_the_other_node_lifts_the_refusal_here(nodes: Nodes) -> None:
    here, there = nodes
    who = contactable(here)
    accepted(here, did("opted_out", who, later(2), actor=SELF))
    assert refusal(here, did("emailed", who, later(3)), facts=False) == "not-contactable"
    accepted(there, did("opted_in", who, later(4), actor=SELF))
    accepted(here, did("emailed", who, later(5)), facts=False)


def test_an_opt_out_on_a_merged_duplicate_stops_an_intention_on_the_survivor(nodes: Nodes) -> None:
    here, there = nodes
    who, other = contactable(here), contactable(here)
    accepted(here, did("emailed", who, later(1)), did("emailed", other, later(1)), facts=False)
    accepted(there, did("merged", other, into={"email": who}))
    accepted(there, did("opted_out", other, later(2), actor=SELF))
    for address in (who, other):
        assert refusal(here, did("emailed", address, later(3)), facts=False) == "not-contactable"
    accepted(there, did("unmerged", other))
    accepted(here, did("emailed", who, later(4)), facts=False)
    assert refusal(here, did("emailed", other, later(4)), facts=False) == "not-contactable"


def test_an_opt_out_in_the_same_call_stops_an_intention(node: Node) -> None:
    who = contactable(node)
    first, second = record(
        node, did("opted_out", who, later(1), actor=SELF), did("emailed", who, later(2)), facts=False
    )
    assert isinstance(first, Accepted)
    assert isinstance(second, Rejected)
    assert second.code == "not-contactable"


def test_an_opt_out_of_a_merged_record_in_the_same_call_stops_an_intention(node: Node) -> None:
    who, other = contactable(node), contactable(node)
    accepted(node, did("merged", other, into={"email": who}))
    _, intention = record(
        node, did("opted_out", other, later(1), actor=SELF), did("emailed", who, later(2)), facts=False
    )
    assert isinstance(intention, Rejected), intention


def test_a_merge_with_an_opted_out_record_in_the_same_call_stops_an_intention(node: Node) -> None:
    who, other = contactable(node), contactable(node)
    accepted(node, did("opted_out", other, later(1), actor=SELF))
    _, intention = record(
        node, did("merged", other, later(2), into={"email": who}), did("emailed", who, later(3)), facts=False
    )
    assert isinstance(intention, Rejected), intention


def test_an_intention_cannot_be_dated_back_to_before_the_opt_out(node: Node) -> None:
    """An intention is about to happen; its claimed time does not open a door that is shut now."""
    who = contactable(node)
    accepted(node, did("opted_out", who, later(5), actor=SELF))
    assert refusal(node, did("emailed", who, later(1)), facts=False) == "not-contactable"


# ── the law ────────────────────────────────────────────────────────────────────────────────────────

PEOPLE = 4
person = st.integers(0, PEOPLE - 1)
statements = st.one_of(
    st.tuples(
        st.just("opted_out"),
        person,
        st.fixed_dictionaries({"actor": st.just(SELF)}, optional={"channel": st.just("email")}),
    ),
    st.tuples(st.just("opted_in"), person, st.just({"actor": SELF})),
    st.tuples(st.just("basis_recorded"), person, st.just({"basis": "legitimate_interest"})),
    st.tuples(st.just("consent_given"), person, st.just({"actor": SELF})),
    st.tuples(st.just("consent_withdrawn"), person, st.just({"actor": SELF})),
    st.tuples(st.just("complained"), person, st.just({})),
)
contacts = st.tuples(st.just("emailed"), person, st.just({}))
merging = st.tuples(st.just("merged"), person, st.fixed_dictionaries({"into": person}))
unmerging = st.tuples(st.just("unmerged"), person, st.just({}))
calls = st.lists(st.one_of(contacts, statements, merging, contacts, unmerging), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.booleans(), calls), min_size=1, max_size=5))
@settings(
    max_examples=600 if os.environ.get("RAPPORT_SOAK") else 15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_sequence_of_commands_leads_to_an_email_without_standing(
    nodes: Nodes, sequence: list[tuple[bool, list[tuple[str, int, dict[str, Any]]]]]
) -> None:
    """Whatever is recorded, merged and undone, on whichever node, one by one or several in a call: every accepted
    intention had standing on everything recorded, or accepted in the same call, before it."""
    people = [somebody() for _ in range(PEOPLE)]
    ids = [o.candidate_id for o in accepted(nodes[0], *(did("sourced", p) for p in people))]
    # Everybody may be written to, and two are one: what is drawn then has something to break.
    first = accepted(
        nodes[0],
        *(did("basis_recorded", p, basis="legitimate_interest") for p in people),
        did("merged", people[1], into={"email": people[0]}),
    )
    order = {o.seq: n for n, o in enumerate(first)}  # ledger position → place in the order of the commands
    moment = DAY
    for on_the_other, commands in sequence:
        documents = []
        for type_, who, fields in commands:
            moment += timedelta(minutes=1)
            given_fields = fields | ({"into": {"email": people[fields["into"]]}} if "into" in fields else {})
            documents.append(did(type_, people[who], moment, **given_fields))
        for outcome in record(nodes[on_the_other], *documents, facts=False):
            if isinstance(outcome, Accepted):
                order[outcome.seq] = len(order)
    events = [r for h in nodes[0].ledger.histories(ids).values() for r in h]
    for sent in events:
        if isinstance(sent.event, Emailed):
            before = [r for r in events if order.get(r.seq, -1) < order[sent.seq]]
            assert _may(before, sent.id, sent.event), (people, [(r.seq, r.id, r.event.type) for r in events])


def _may(events: list[Recorded[CandidateEvent]], id_: str, intention: Emailed) -> bool:
    """The standing by the domain's own rule, over these events alone."""
    live: dict[str, Edge] = {}
    for r in sorted(events, key=lambda r: r.event.occurred_at):
        match r.event:
            case Merged(into=into):
                live[r.id] = Edge(r.id, into, r.seq)
            case Unmerged():
                live.pop(r.id, None)
    forest = Forest.of(live.values())
    members = forest.members(id_)
    held = [
        statement(r.id, r.event, r.seq, r.recorded_at)
        for r in events
        if r.id in members and r.event.type in STATEMENT_TYPES
    ]
    return standing(held, intention.channel, intention.purpose, intention.occurred_at, forest.joined).contactable


def test_a_node_whose_clock_is_behind_acts_on_what_the_ledger_holds(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An opt-out that came a moment ago by the server's clock lies ahead of the node's; nothing goes out meanwhile."""
    who = somebody()
    id_ = sourced(node, who)
    accepted(node, did("basis_recorded", who, basis="legitimate_interest"))
    (taken,) = accepted(node, did("opted_out", who, at=utc_now()))
    node.wait_for(taken.seq)
    behind = utc_now() - timedelta(minutes=10)
    monkeypatch.setattr("infra.deciding.utc_now", lambda: behind)
    monkeypatch.setattr("api.histories.utc_now", lambda: behind)
    assert refusal(node, did("emailed", who, at=behind), facts=False) == "not-contactable"
    held, at = node.standing(id_, Channel.EMAIL, "recruiting")
    assert not held.contactable
    assert at > behind
