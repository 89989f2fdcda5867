"""An evidence file made: the events of one person with their proofs, signed, and verified before it is handed out."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson

from api.http import rendering
from api.node import Node
from consumers.notary import NothingSigned
from domain import candidate
from domain.checkpoint import Checkpoint
from domain.errors import ErasedCandidate, UnreadableCandidate
from domain.event import utc_now
from domain.evidence import (
    SEALED_BUT_TOLD,
    Evidence,
    EvidenceRefused,
    Held,
    NotProvable,
    ProvedEvent,
    in_the_clear,
    statement_text,
)
from domain.identity import Edge, Forest
from domain.trail import trail
from domain.verifying import verify
from infra import codec
from infra.crypto.signing import check
from projections import queries, tree
from projections.tree import Event

Body = Mapping[str, Any]


def evidence_of(node: Node, candidate_id: str, as_of: datetime | None, known_at: datetime | None = None) -> bytes:
    """The evidence file about the person that `candidate_id` is a record of, as JSON.

    Of somebody whose key was destroyed the stored events are proved, and nothing of what they hold is opened. Raises
    NotProvable, and UnreadableCandidate where the ledger does not hand out what it held.
    """
    until_seq = node.ledger.last_seq()
    node.wait_for(until_seq)
    with node.projector.cursor() as cursor:
        held = tree.events_of(cursor, queries.ever_merged(cursor, candidate_id), known_at)
    events = [e for e in held if e.seq <= until_seq]
    as_of = as_of or max([utc_now(), *(e.recorded_at for e in events)])  # the ledger's clock may be ahead of ours
    bodies = {e.seq: _body(e) for e in events if e.body is not None}
    forest = Forest.of(_live_edges(events, bodies))
    records = sorted(forest.members(candidate_id))
    events = [e for e in events if e.id in records]
    if not any(e.id == candidate_id for e in events):
        raise NotProvable("the ledger held nothing about this candidate then; ask for a later time")
    if known_at is not None and any(e.seq not in bodies for e in events):
        raise NotProvable("bytes were purged by an erasure that was not known then; ask without a time of knowing")
    readable = _readable(node, candidate_id, as_of, known_at, until_seq, events, bodies)
    try:
        note, checkpoint = node.notary.covering(events[-1].seq)
        proved = _proved(node, events, checkpoint)
    except NothingSigned as error:
        raise NotProvable(str(error)) from error
    versions = {id_: sum(e.id == id_ for e in events) for id_ in records}
    key = node.notary.key(checkpoint)
    unsigned = Evidence(
        candidate=forest.canonical(candidate_id),
        as_of=_iso(as_of),
        known_at=None if known_at is None else _iso(known_at),
        until_seq=until_seq,
        made_at=_iso(utc_now()),
        records=[Held(record=id_, events=count) for id_, count in versions.items()],
        events=proved,
        trail=readable,
        checkpoint=note,
        statement="",
        key=key.vkey,
        key_id=key.id.hex(),
    )
    statement = node.notary.note(statement_text(unsigned, checkpoint), checkpoint)
    document = unsigned.model_copy(update={"statement": statement}).model_dump()
    content = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        verify(content, check, key)
    except EvidenceRefused as error:
        raise NotProvable(f"mirror and ledger do not agree: {error}; `rapport verify` says more") from error
    return content


def _body(event: Event) -> Body:
    """The stored document. Raises NotProvable."""
    stored = event.body or b""
    if sha256(stored).digest() != event.hash:
        raise NotProvable(f"the mirror's row of event {event.seq} was changed; `rapport verify` says more")
    try:
        body = orjson.loads(stored)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("state"), dict):
        raise NotProvable(f"event {event.seq} of this candidate is not one of Rapport, so that it says nothing")
    return body


def _live_edges(events: Iterable[Event], bodies: Mapping[int, Body]) -> Iterable[Edge]:
    """The merges in force, from the stored bytes: what they say of it stands in the clear."""
    live: dict[str, Edge] = {}
    for event in events:
        if event.type == "merged" and event.seq in bodies:
            live[event.id] = Edge(event.id, str(bodies[event.seq]["state"].get("into")), event.seq)
        elif event.type == "unmerged":
            live.pop(event.id, None)
    return live.values()


def _proved(node: Node, events: Sequence[Event], checkpoint: Checkpoint) -> list[ProvedEvent]:
    placed = node.notary.place([e.seq for e in events], checkpoint.size)
    return [
        ProvedEvent(
            seq=event.seq,
            leaf=place.leaf,
            record=event.id,
            version=event.version,
            recorded_at=_iso(event.recorded_at),
            hash=event.hash.hex(),
            stored=None if event.body is None else b64encode(event.body).decode(),
            path=[b64encode(step).decode() for step in place.path],
        )
        for event, place in zip(events, placed, strict=True)
    ]


def _readable(
    node: Node,
    candidate_id: str,
    as_of: datetime,
    known_at: datetime | None,
    until_seq: int,
    events: Sequence[Event],
    bodies: Mapping[int, Body],
) -> dict[str, Any] | None:
    """The trail with what is opened, from the ledger; None when a key that it needs was destroyed.

    What stands in the clear is shown as it is stored, older versions too, so that it can be compared with the bytes.
    """
    names = {codec.aggregate_id(candidate.KIND, event.id) for event in events}
    try:
        histories = [[r for r in held if r.seq <= until_seq] for held in node.histories(candidate_id)]
    except ErasedCandidate:
        return None
    except UnreadableCandidate:
        gone = names - node.keyring.existing(names).keys()
        if not gone or node.keyring.lost(gone):
            raise
        return None
    found = rendering.trail(trail(candidate_id, histories, as_of, known_at))
    for step in found["events"]:
        sealed = {name: value for name, value in step["data"].items() if name in SEALED_BUT_TOLD}
        step["data"] = sealed | in_the_clear(bodies[step["seq"]]["state"])
    return found


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
