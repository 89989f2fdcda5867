"""A person's events as they are handed out, and what they say of categories, recipients and sources. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from api.disclosure.document import Category, Recipient, Source, System, Unreadable
from domain import candidate
from domain.event import Event, personal_fields
from domain.policy import ActorKind
from domain.upcasters import UnknownEventError
from infra import codec
from infra.crypto.sealing import SealBrokenError
from projections.person import HeldEvent

Fields = dict[str, Any]

NO_KEY = "its personal part is sealed, and the key of this record is gone"
NO_BODY = "its stored bytes are not what Rapport writes, or gone"


class Opened(NamedTuple):
    """One event: where the ledger holds it, and its fields, those in the clear and the personal ones together."""

    seq: int
    record: str
    version: int
    type: str
    occurred_at: datetime
    recorded_at: datetime
    data: Fields

    @property
    def by_the_person(self) -> bool:
        """Whether the person acted."""
        return self.data.get("actor_kind") == ActorKind.CANDIDATE

    def document(self) -> Fields:
        """As one line of `events.ndjson` has it."""
        return self._asdict()


def opened(held: Iterable[HeldEvent]) -> tuple[list[Opened], list[Unreadable]]:
    """The events by when they happened, and those that could not be opened, each with the reason."""
    readable, unreadable = list[Opened](), list[Unreadable]()
    for event in held:
        clear = _clear(event)
        if event.problem is None and event.fields and clear is not None and event.occurred_at is not None:
            place = event.seq, event.record, event.version, event.type, event.occurred_at, event.recorded_at
            readable.append(Opened(*place, _in_order(event.type, clear | orjson.loads(event.fields))))
            continue
        reason = event.problem or (NO_KEY if clear is not None else NO_BODY)
        unreadable.append(
            Unreadable(
                seq=event.seq,
                record=event.record,
                version=event.version,
                type=event.type or "unknown",
                recorded_at=event.recorded_at,
                reason=reason,
            )
        )
    return sorted(readable, key=lambda e: (e.occurred_at, e.seq)), unreadable


def _clear(event: HeldEvent) -> Fields | None:
    """What stands in the clear, as the newest version of its type has it; None where that cannot be read."""
    name = codec.aggregate_id(candidate.KIND, event.record)
    try:
        state = orjson.loads(event.body or b"")["state"]
        clear = codec.open_newest(name, event.version, event.type, state, None).clear
    except (ValueError, KeyError, TypeError, UnknownEventError, SealBrokenError):
        return None
    clear.pop("occurred_at", None)
    return clear


def _in_order(type_: str, data: Fields) -> Fields:
    """Fields in the order of the catalogue, so that two exports differ where the data does."""
    names = candidate.EVENTS[type_].model_fields
    return {name: data[name] for name in (*names, *sorted(data.keys() - names.keys())) if name in data}


ENVELOPE = frozenset(Event.model_fields)
"""Fields that every event has; who acted and where it came from are told elsewhere."""


def categories(events: Iterable[Opened]) -> list[Category]:
    """Which fields hold data, most events first."""
    counts = Counter((f, f in personal_fields(candidate.EVENTS[e.type])) for e in events for f in e.data)
    named = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Category(field=f, events=n, sealed=sealed) for (f, sealed), n in named if f not in ENVELOPE]


def recipients(events: Iterable[Opened]) -> list[Recipient]:
    """Who was told, by when."""
    return [
        Recipient(
            recipient=e.data["recipient"],
            told_of=e.data["about"],
            told_at=e.occurred_at,
            acknowledged=bool(e.data.get("acknowledged")),
            seq=e.seq,
        )
        for e in events
        if e.type == candidate.RecipientNotified.type
    ]


def systems(events: Sequence[Opened]) -> list[System]:
    """The systems and providers that events name, by name."""
    found: dict[str, list[Opened]] = {}
    for e in events:
        if "source" in e.data:
            found.setdefault(e.data["source"], []).append(e)
    return [
        System(
            label=label,
            events=len(of),
            types=sorted({e.type for e in of}),
            first_at=of[0].occurred_at,
            last_at=of[-1].occurred_at,
        )
        for label, of in sorted(found.items())
    ]


def sources(events: Iterable[Opened]) -> list[Source]:
    """Each time the person, or more about them, came to our attention."""
    return [
        Source(source=e.data.get("source"), at=e.occurred_at, from_the_person=e.by_the_person, seq=e.seq)
        for e in events
        if e.type in (candidate.Sourced.type, candidate.ProfileCorrected.type)
    ]
