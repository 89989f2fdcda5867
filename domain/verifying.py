"""Verifying an evidence file: every check, in an order that names what was done to the file as closely as it can.

The same rules stand in `docs/verify_evidence.py`, for those who trust none of our code; a test holds them together.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from domain.candidate import Erased
from domain.checkpoint import HASH_BYTES, Check, Checkpoint, NoteForged, NoteMalformed, VerifyingKey, decoded, opened
from domain.consent import effective_at
from domain.evidence import (
    SEALED_BUT_TOLD,
    Evidence,
    EvidenceRefused,
    ProvedEvent,
    Readable,
    Reason,
    Step,
    in_the_clear,
    once,
    parse,
    statement_text,
)
from domain.merkle import leaf_hash, proves_inclusion
from domain.policy import ActorKind
from domain.trail import RELEVANT_TYPES

BY_THE_PERSON = ActorKind.CANDIDATE


@dataclass(frozen=True)
class Verified:
    """A file that proves what it says. `stored`: the parsed bytes of each event by seq, as far as they are there.
    `readable` is the trail as the controller tells it, which contradicts none of them; None of an erased person.
    """

    evidence: Evidence
    checkpoint: Checkpoint
    key: VerifyingKey
    stored: Mapping[int, dict[str, Any]]
    readable: Readable | None


def verify(content: bytes, check: Check, trusted: VerifyingKey | None = None) -> Verified:
    """What the file in `content` proves, by its own key, or by the one that is `trusted`. Raises EvidenceRefused."""
    evidence = parse(content)
    key = _key(evidence, trusted)
    try:
        checkpoint = Checkpoint.of(opened(evidence.checkpoint, key, check))
    except (NoteForged, NoteMalformed) as error:
        raise EvidenceRefused(Reason.FORGED_CHECKPOINT, f"the checkpoint is not one of this log: {error}") from None
    if checkpoint.origin != key.name:
        raise EvidenceRefused(Reason.FORGED_CHECKPOINT, f"{key.name} signed a checkpoint of {checkpoint.origin}")
    try:
        signed = opened(evidence.statement, key, check)
    except (NoteForged, NoteMalformed) as error:
        raise EvidenceRefused(Reason.FORGED_STATEMENT, f"the statement is not signed: {error}") from None
    _require_order(evidence.events)
    _require_in_time(evidence)
    stored = {e.seq: body for e in evidence.events if (body := _proved(e, checkpoint)) is not None}
    _require_complete(evidence)
    if signed != statement_text(evidence, checkpoint):
        raise EvidenceRefused(
            Reason.ALTERED, "the file does not say what was signed: something beside the events is other"
        )
    _require_named(evidence, stored)
    return Verified(evidence, checkpoint, key, stored, _told(evidence, stored))


def _key(evidence: Evidence, trusted: VerifyingKey | None) -> VerifyingKey:
    try:
        key = VerifyingKey.of(evidence.key)
    except NoteMalformed as error:
        raise EvidenceRefused(Reason.WRONG_KEY, f"the key in the file cannot be one: {error}") from None
    if key.id.hex() != evidence.key_id:
        raise EvidenceRefused(Reason.WRONG_KEY, f"the file says key {evidence.key_id[:8]!r} and holds {key.id.hex()}")
    if trusted is not None and key != trusted:
        sentence = f"the file is signed with {key.name} {key.id.hex()}, trusted is {trusted.name} {trusted.id.hex()}"
        raise EvidenceRefused(Reason.WRONG_KEY, sentence)
    return key


def _require_order(events: Sequence[ProvedEvent]) -> None:
    for before, after in pairwise(events):
        if after.seq <= before.seq or after.leaf <= before.leaf:
            how = "stands twice" if after.seq == before.seq else f"stands behind event {before.seq}"
            raise EvidenceRefused(Reason.REORDERED, f"the list of events is rearranged: event {after.seq} {how}")


def _require_in_time(evidence: Evidence) -> None:
    known = None if evidence.known_at is None else datetime.fromisoformat(evidence.known_at)
    for event in evidence.events:
        late = known is not None and datetime.fromisoformat(event.recorded_at) > known
        if late or event.seq > evidence.until_seq:
            raise EvidenceRefused(Reason.ALTERED, f"event {event.seq} is later than what the file is made of")


def _require_named(evidence: Evidence, stored: Mapping[int, dict[str, Any]]) -> None:
    """Bytes are missing only where a later `erased` event of the same record says so, by their hash."""
    named = {
        (event.record, *place): event.seq
        for event in evidence.events
        if event.seq in stored and stored[event.seq]["type"] == Erased.type
        for place in _named_by(event, stored[event.seq])
    }
    for event in evidence.events:
        if event.stored is None and named.get((event.record, event.seq, f"sha256:{event.hash}"), 0) <= event.seq:
            sentence = f"the bytes of event {event.seq} are left out, and no erasure of its record names them"
            raise EvidenceRefused(Reason.WITHHELD, sentence)


def _named_by(event: ProvedEvent, body: dict[str, Any]) -> list[tuple[int, str]]:
    """Seq and hash of each body that an `erased` event says is to go. Raises EvidenceRefused."""
    try:
        return [(int(seq), str(hash_)) for seq, hash_ in body["state"].get("bodies") or ()]
    except (TypeError, ValueError):
        raise EvidenceRefused(Reason.CHANGED_EVENT, f"event {event.seq} does not say whose bytes go") from None


def _proved(event: ProvedEvent, checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The parsed bytes, when they are in the log where the file says."""
    try:
        stored = None if event.stored is None else decoded(event.stored)
        path = [decoded(step) for step in event.path]
    except NoteMalformed as error:
        raise EvidenceRefused(Reason.CHANGED_EVENT, f"event {event.seq} cannot be read: {error}") from None
    entry = bytes.fromhex(event.hash)
    if stored is not None and sha256(stored).digest() != entry:
        sentence = f"event {event.seq} is changed: its bytes do not have the hash that is in the log"
        raise EvidenceRefused(Reason.CHANGED_EVENT, sentence)
    whole = all(len(step) == HASH_BYTES for step in path)
    if not whole or not proves_inclusion(leaf_hash(entry), event.leaf, checkpoint.size, path, checkpoint.root):
        sentence = f"event {event.seq} is not proved: its path does not lead from leaf {event.leaf} to the checkpoint"
        raise EvidenceRefused(Reason.NOT_IN_LOG, sentence)
    return None if stored is None else _body(event, stored)


def _body(event: ProvedEvent, stored: bytes) -> dict[str, Any]:
    """The stored document, which must be of the record and version that the file says."""
    try:
        body: dict[str, Any] = json.loads(stored, object_pairs_hook=once)
        said, state = (body["id"], body["version"], body["type"]), body["state"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EvidenceRefused(Reason.CHANGED_EVENT, f"event {event.seq} is not an event of Rapport") from None
    if said[:2] != (f"candidate-{event.record}", event.version) or not isinstance(state, dict):
        sentence = f"event {event.seq} is not version {event.version} of record {event.record}, as the file says"
        raise EvidenceRefused(Reason.ALTERED, sentence)
    return body


def _require_complete(evidence: Evidence) -> None:
    """Every record named has its events, from the first to the last; no other has any."""
    versions: dict[str, list[int]] = {held.record: [] for held in evidence.records}
    for event in evidence.events:
        if event.record not in versions:
            sentence = f"event {event.seq} is of record {event.record}, which the statement does not name"
            raise EvidenceRefused(Reason.FOREIGN_EVENT, sentence)
        versions[event.record].append(event.version)
    for held in evidence.records:
        found = versions[held.record]
        there = set(found)
        missing = next(n for n in range(1, len(there) + 2) if n not in there)
        if missing <= held.events:
            sentence = f"event {missing} of the {held.events} events of record {held.record} is left out"
            raise EvidenceRefused(Reason.REMOVED_EVENT, sentence)
        if len(found) != held.events:
            sentence = f"record {held.record} has {held.events} events by the statement and others in the file"
            raise EvidenceRefused(Reason.FOREIGN_EVENT, sentence)
    if len(versions) != len(evidence.records):
        raise EvidenceRefused(Reason.FOREIGN_EVENT, "a record is named twice")


def _told(evidence: Evidence, stored: Mapping[int, dict[str, Any]]) -> Readable | None:
    """The readable trail, which says what the stored events say, and passes over none of them."""
    if evidence.trail is None:
        return None
    try:
        readable = Readable.model_validate(evidence.trail)
    except ValidationError:
        raise EvidenceRefused(Reason.CONTRADICTION, "the readable trail is not one") from None
    about = readable.candidate, readable.records, readable.as_of, readable.known_at
    if about != (evidence.candidate, [held.record for held in evidence.records], evidence.as_of, evidence.known_at):
        raise EvidenceRefused(Reason.CONTRADICTION, "the readable trail is of other records, or of another time")
    if len(stored) < len(evidence.events):
        raise EvidenceRefused(Reason.CONTRADICTION, "the readable trail is of events whose bytes are not there")
    by_seq = {event.seq: event for event in evidence.events}
    for step in readable.events:
        if step.seq not in by_seq or not _tells(step, by_seq[step.seq], stored[step.seq]):
            sentence = f"what the readable trail says of event {step.seq} is not what its stored bytes say"
            raise EvidenceRefused(Reason.CONTRADICTION, sentence)
    began = {seq: _began(body, by_seq[seq]) for seq, body in stored.items()}
    as_of = datetime.fromisoformat(evidence.as_of)
    due = [seq for seq, body in stored.items() if body["type"] in RELEVANT_TYPES and began[seq] <= as_of]
    told = [step.seq for step in readable.events]
    if told != sorted(due, key=lambda seq: (began[seq], seq)):
        over = ", ".join(f"{seq} ({stored[seq]['type']})" for seq in due if seq not in told)
        sentence = f"passes over event {over}" if over else "tells an event too much, twice or out of order"
        raise EvidenceRefused(Reason.CONTRADICTION, f"the readable trail {sentence}")
    return readable


def _tells(step: Step, event: ProvedEvent, body: dict[str, Any]) -> bool:
    """Whether a step says all that stands in the bytes in the clear, and nothing else but what is sealed in them."""
    state = body["state"]
    said = {name: value for name, value in step.data.items() if name not in SEALED_BUT_TOLD}
    return (
        (step.record, step.version, step.type) == (event.record, event.version, body["type"])
        and (step.channel, step.source) == (state.get("channel"), state.get("source"))
        and (step.actor.partition(":")[0] == BY_THE_PERSON) == (state.get("actor_kind") == BY_THE_PERSON)
        and said == in_the_clear(state)
        and _is_same_time(step.occurred_at, state.get("occurred_at"))
        and _is_same_time(step.recorded_at, event.recorded_at)
    )


def _began(body: dict[str, Any], event: ProvedEvent) -> datetime:
    """From when the event holds. Raises EvidenceRefused."""
    try:
        occurred_at = datetime.fromisoformat(body["state"]["occurred_at"])
        return effective_at(body["type"], occurred_at.astimezone(UTC), datetime.fromisoformat(event.recorded_at))
    except (ValueError, KeyError, TypeError, OverflowError):
        raise EvidenceRefused(Reason.CHANGED_EVENT, f"event {event.seq} does not say when it happened") from None


def _is_same_time(said: str, stored: object) -> bool:
    try:
        return isinstance(stored, str) and datetime.fromisoformat(said) == datetime.fromisoformat(stored)
    except ValueError:
        return False
