"""The record a caller sends: what happened, with whom, when. Parsing is strict; nothing is dropped silently."""

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain import candidate
from domain.candidate import CandidateEvent
from domain.consent import ANY_PURPOSE
from domain.errors import InvalidInteraction
from domain.event import HexId, Label, Name, Text, UtcDatetime
from domain.policy import ActorKind, Channel

DEFAULT_ACTOR = "system:unknown"
ENVELOPE = frozenset({"occurred_at", "actor", "actor_kind", "source", "correlation", "interaction", "channel"})
"""Event fields that the record carries outside `data`."""


class Reference(BaseModel):
    """Who is meant: one identifier, or several of one person."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: HexId | None = None
    email: Text | None = None
    phone: Text | None = None
    profile: Text | None = None
    ref: Annotated[str, Field(pattern=r"^[^:\s]+:\S.*$", max_length=300)] | None = None

    def is_empty(self) -> bool:
        """Whether no identifier is given."""
        return not self.model_fields_set or all(getattr(self, f) is None for f in type(self).model_fields)


class Interaction(BaseModel):
    """One record, as callers send it (`docs/design.md`, The interaction record).

    `data` is checked against the event type's own fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Name | None = None
    type: str
    candidate: Reference
    occurred_at: UtcDatetime
    channel: Channel | None = None
    source: Label | None = None
    actor: Name = DEFAULT_ACTOR
    correlation: HexId | None = None
    data: dict[str, Any] = {}

    @property
    def actor_kind(self) -> ActorKind:
        """The closed part of `actor`; what is not candidate, user or service is the system."""
        kind = self.actor.partition(":")[0]
        return ActorKind(kind) if kind in set(ActorKind) else ActorKind.SYSTEM


def parse(record: Any) -> Interaction:
    """The interaction in `record`, a decoded JSON object.

    A record without `id` gets one made of its content, so that sending it again changes nothing.
    Raises InvalidInteraction with one sentence that names the field and never its personal value.
    """
    if not isinstance(record, dict):
        raise InvalidInteraction("an interaction is a JSON object; see the README for one of each")
    try:
        interaction = Interaction.model_validate(record)
    except ValidationError as error:
        raise InvalidInteraction(_sentence(error)) from None
    if interaction.type not in candidate.EVENTS:
        known = ", ".join(sorted(candidate.EVENTS.keys() - candidate.BY_COMMAND.keys()))
        raise InvalidInteraction(f"type: unknown type {interaction.type[:40]!r}; known are {known}")
    if (command := candidate.BY_COMMAND.get(interaction.type)) is not None:
        raise InvalidInteraction(f"type: {interaction.type} is what `rapport {command}` does, and no interaction")
    if interaction.candidate.is_empty():
        raise InvalidInteraction("candidate: name one of id, email, phone, profile or ref")
    if interaction.id is None:
        interaction = interaction.model_copy(update={"id": content_id(record)})
    return interaction


def content_id(record: dict[str, Any]) -> str:
    """An id that only an identical record has."""
    text = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def event_of(interaction: Interaction, *, identifiers: tuple[str, ...] = (), into: str | None = None) -> CandidateEvent:
    """The event `interaction` proposes. `into` is the resolved candidate of a merge or unmerge.

    Raises InvalidInteraction when `data` does not fit the type.
    """
    event_class = candidate.EVENTS[interaction.type]
    data = dict(interaction.data)
    if interaction.type == candidate.Emailed.type and interaction.channel not in (None, Channel.EMAIL):
        raise InvalidInteraction("channel: an email goes by email; what was written elsewhere is `messaged`")
    if isinstance(purpose := data.get("purpose"), str) and purpose.strip() == ANY_PURPOSE:
        field = event_class.model_fields.get("purpose")  # without one, the field is refused as any other
        if field is not None and field.default is not None:
            raise InvalidInteraction("data.purpose: name one; in answers `*` stands for those that nobody has named")
        if field is not None:
            del data["purpose"]
    if reserved := sorted((ENVELOPE | {"identifiers"}) & data.keys()):
        raise InvalidInteraction(f"data.{reserved[0]}: belongs beside `data`, not inside it")
    if into is not None:
        data["into"] = into
    if interaction.channel is not None:
        data["channel"] = interaction.channel
    try:
        return event_class(
            occurred_at=interaction.occurred_at,
            actor_kind=interaction.actor_kind,
            actor=interaction.actor,
            source=interaction.source,
            correlation=interaction.correlation,
            interaction=interaction.id,
            identifiers=identifiers,
            **data,
        )
    except ValidationError as error:
        raise InvalidInteraction(_sentence(error, prefix="data.")) from None


def _sentence(error: ValidationError, prefix: str = "") -> str:
    """The first problem, by field name; values stay out because they may be personal."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(_readable(str(part)) for part in first["loc"]) or "record"
    message = {
        "missing": "is missing",
        "extra_forbidden": "is not a field of this type",
        "timezone_aware": "has no time zone; write it as 2026-03-01T09:30:00Z or with an offset",
    }.get(first["type"], first["msg"].removeprefix("Value error, "))
    top_level = place.split(".")[0] in Interaction.model_fields
    return f"{place if top_level else prefix + place}: {message}"


def _readable(name: str) -> str:
    """A field's name as it may stand in a sentence, whatever the caller called it."""
    return "".join(c if c.isprintable() else "?" for c in name[:60])
