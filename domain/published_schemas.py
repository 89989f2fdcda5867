"""JSON Schemas (2020-12) of what the feed publishes, made from the event classes: only what `public_fields` lets out.

Within a version a type only grows: fields and words of an enumeration may be added, nothing is taken away or made to
mean something else. So subscribers ignore what they do not know.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, Field

from domain import candidate as c
from domain.band import Band
from domain.event import Event, HexId, UtcDatetime
from domain.published import UNREADABLE, effects, public_fields

VERSION = 1
"""Of every published type there is so far. A type that changes its meaning gets another, beside the one before."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]
Position = Annotated[int, Field(ge=1, description="position in the ledger")]


class _Head(BaseModel):
    candidate: HexId = Field(description="the record that the event is on")
    seq: Position
    version: int = Field(ge=1, description="the how-manieth event of the record")
    recorded_at: UtcDatetime = Field(description="when the ledger took the event")


class _Unreadable(_Head):
    """In place of an event that the publishing node cannot read: a newer version of Rapport wrote it, or it is damaged.

    The ledger holds it; what it says does not come later.
    """

    version: int = Field(ge=0, description="the how-manieth event of the record; 0 where not even that can be read")


class PoolChange(BaseModel):
    """A person came into a pool, or went out of it, as the views have it. `candidate` stands for the whole person."""

    pool: HexId
    candidate: HexId
    at: UtcDatetime = Field(description="since when")
    seq: Position | None = Field(None, description="position of the event that decided; absent where time did")


class BandChanged(BaseModel):
    """A person's engagement went into another band, by what they did, or by nothing for long enough."""

    candidate: HexId
    was: Band = Field(alias="from")
    band: Band = Field(alias="to")
    score: float = Field(ge=0, le=100, description="the score now, to one digit")
    model: str = Field(description="version of the engagement model")
    at: UtcDatetime = Field(description="when it was computed")


class CheckpointSigned(BaseModel):
    """A signed checkpoint of the log (C2SP tlog-checkpoint); docs/proof.md says what it proves."""

    origin: str = Field(description="name of the log")
    size: int = Field(ge=1, description="events that the checkpoint covers")
    root: str = Field(pattern="^[0-9a-f]{64}$", description="root of the RFC 9162 tree over them")
    note: str = Field(description="the signed note, as it is to be verified")


_DERIVED: Mapping[str, type[BaseModel]] = {
    "pool.joined": PoolChange,
    "pool.left": PoolChange,
    "engagement.band_changed": BandChanged,
    "compliance.checkpoint": CheckpointSigned,
}

_EFFECTS_SAY = {
    "opted_out": "The person does not want to be contacted: an opt-out, a complaint, or a consent taken back. Without "
    "channel or purpose it covers all. That contact is allowed again is never announced: ask before you contact.",
    "rectified": "The person's data was corrected (Art. 16 GDPR): recipients fetch it again (Art. 19).",
    "restricted": "The person's data is stored and not used from now on (Art. 18 GDPR); recipients do the same.",
    "restriction_lifted": "The person's data may be used again (Art. 18(3) GDPR).",
    "erased": "The person was erased (Art. 17 GDPR): recipients erase what they hold of them, and acknowledge it.",
}


@cache
def schemas() -> Mapping[str, Schema]:
    """By published type: the schema of `data`."""
    made = {f"{c.KIND}.{type_}": _of_event(cls) for type_, cls in sorted(c.EVENTS.items())}
    made[UNREADABLE] = _of_model(_Unreadable)
    made |= {f"compliance.{effect}": _of_effect(effect) for effect in sorted(effects())}
    made |= {type_: _of_model(model) for type_, model in _DERIVED.items()}
    return {type_: {"$schema": DIALECT, "title": type_} | schema for type_, schema in made.items()}


def _of_event(cls: type[Event]) -> Schema:
    whole = _of_model(cls)
    head = _of_model(_Head)
    names = [name for name in whole["properties"] if name in public_fields(cls)]
    return {
        "description": whole["description"].partition("\n\n")[0],
        "type": "object",
        "properties": head["properties"] | {name: whole["properties"][name] for name in names},
        "required": head["required"] + [name for name in whole["required"] if name in names],
    }


def _of_effect(effect: str) -> Schema:
    head, types = _of_model(_Head), effects()[effect]
    fields: Schema = {}
    for type_ in types:
        fields |= _of_model(c.EVENTS[type_])["properties"]
    said = {"right": _of_model(c.OptedOut)["properties"]["right"]} | fields
    because = {"description": "the type of the event that has this effect", "type": "string", "enum": sorted(types)}
    named = sorted({name for names in types.values() for name in names})
    return {
        "description": _EFFECTS_SAY[effect],
        "type": "object",
        "properties": head["properties"]
        | {"occurred_at": said["occurred_at"], "because": because}
        | {name: said[name] for name in named},
        "required": [*head["required"], "occurred_at", "because"],
    }


def _of_model(model: type[BaseModel]) -> Schema:
    """The model's schema with all that it refers to in its place, for a type is one document; never null."""
    whole = model.model_json_schema(mode="serialization")
    definitions = whole.pop("$defs", {})

    def inlined(part: Any) -> Any:
        if isinstance(part, list):
            return [inlined(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return inlined({k: v for k, v in definitions[part["$ref"].rpartition("/")[2]].items() if k != "title"})
        if {"type": "null"} in part.get("anyOf", ()):
            (only,) = (option for option in part["anyOf"] if option != {"type": "null"})
            part = {k: v for k, v in part.items() if k not in ("anyOf", "default")} | inlined(only)
        return {k: inlined(v) for k, v in part.items() if k not in ("default", "additionalProperties")}

    made: Schema = inlined(whole)
    made["properties"] = {name: _untitled(schema) for name, schema in made["properties"].items()}
    return {
        "description": _line(made["description"]) if "description" in made else "",
        "type": "object",
        "properties": made["properties"],
        "required": made.get("required", []),
    }


def _untitled(schema: Schema) -> Schema:
    return {k: v for k, v in schema.items() if k != "title"}


def _line(docstring: str) -> str:
    """Paragraphs, each on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in docstring.split("\n\n"))
