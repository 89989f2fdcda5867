"""What the feed says of an event: a pure function of one event of the ledger, and nothing personal.

A candidate's event gives one message with the event's clear fields, and directly behind it one for the effect that
the event has on what others may do with the person's data, if it has one. What is derived from views, which change with
time too (`pool.…`, `engagement.…`), has its types here and is compared elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain import candidate as c
from domain.event import Event, personal_fields
from domain.policy import Right

Fields = dict[str, Any]

KEPT_BACK = frozenset({"bodies", "envelopes"})
"""Clear fields that are not published: what proves an erased person's events, of any number."""

UNREADABLE = "candidate.unreadable"
"""In place of an event that this version of Rapport cannot read, so that a subscriber knows of it."""

ABOUT_BY_EFFECT = {"rectified": "rectification", "erased": "erasure", "restricted": "restriction"}
"""Of which effects recipients of the data have to be told (Art. 19 GDPR), in the words of `recipient_notified`."""

_RIGHTS = {
    c.Complained.type: Right.OBJECTION.value,
    c.ConsentWithdrawn.type: Right.WITHDRAWAL.value,
}
_EFFECTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    c.OptedOut.type: ("opted_out", ("channel", "purpose", "right")),
    c.Complained.type: ("opted_out", ("channel",)),  # of every purpose: who reports spam does not distinguish them
    c.ConsentWithdrawn.type: ("opted_out", ("channel", "purpose")),
    c.ProfileCorrected.type: ("rectified", ()),
    c.Restricted.type: ("restricted", ("ground", "request")),
    c.RestrictionLifted.type: ("restriction_lifted", ("informed_at", "request")),
    c.Erased.type: ("erased", ("erasure", "ground", "request")),
}
"""Of a type of event: its effect, and the fields that say more of it.

Nothing says "contact is allowed again": that rests on more than one event, and is asked of contactability.
"""


@dataclass(frozen=True, slots=True)
class Fact:
    """An event as the ledger holds it, without its personal half. `fields` is None where it cannot be read."""

    id: str
    version: int
    seq: int
    type: str
    recorded_at: datetime
    fields: Fields | None


@dataclass(frozen=True, slots=True)
class Message:
    """Something for the feed. `id` is None where its place on the feed is what tells it from others."""

    type: str
    id: str | None
    subject: str
    time: str
    data: Fields


def messages(fact: Fact) -> list[Message]:
    """What the feed says of a candidate's event, in order: one message, or two."""
    head: Fields = {
        "candidate": fact.id,
        "seq": fact.seq,
        "version": fact.version,
        "recorded_at": text_of(fact.recorded_at),
    }
    cls = c.EVENTS.get(fact.type)
    if fact.fields is None or cls is None:
        return [Message(UNREADABLE, str(fact.seq), fact.id, head["recorded_at"], head)]
    names = public_fields(cls)
    said = {name: value for name, value in fact.fields.items() if name in names}
    time = said["occurred_at"]
    told = [Message(f"{c.KIND}.{fact.type}", str(fact.seq), fact.id, time, head | said)]
    if fact.type in _EFFECTS and not fact.fields.get("bodies"):  # which only name what goes after the erasure
        effect, fields = _EFFECTS[fact.type]
        more = {name: said[name] for name in fields if name in said}
        if fact.type in _RIGHTS:
            more["right"] = _RIGHTS[fact.type]
        because = {"occurred_at": time, "because": fact.type}
        told.append(Message(f"compliance.{effect}", f"{fact.seq}/{effect}", fact.id, time, head | because | more))
    return told


def public_fields(cls: type[Event]) -> frozenset[str]:
    """The fields of an event that the feed shows."""
    return frozenset(cls.model_fields) - personal_fields(cls) - KEPT_BACK


def effects() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """By effect: the types of event that have it, each with the fields that say more of it."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for type_, (effect, fields) in _EFFECTS.items():
        found.setdefault(effect, {})[type_] = (*fields, "right") if type_ in _RIGHTS else fields
    return found


def place_of(message_id: str) -> tuple[int, str | None] | None:
    """The ledger position, and the effect, that a message's id names; None of an id that names none."""
    seq, _, effect = message_id.partition("/")
    if not (seq.isascii() and seq.isdecimal()) or len(seq) > 18 or (effect and effect not in effects()):
        return None
    return int(seq), effect or None


def text_of(moment: datetime) -> str:
    """A time in UTC, as RFC 3339 has it, in the form that events are stored in."""
    return moment.isoformat().replace("+00:00", "Z")
