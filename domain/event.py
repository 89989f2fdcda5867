"""What every event has, and how an event says which of its fields are about a person.

An event class has a stable `type` and schema version `v`, given as class keywords; the stored form
never depends on a Python name. A field declared `Personal[...]` is encrypted at rest with the key of
its aggregate; marking the field is all an author does. Anything else is stored in the clear and must be
a closed enumeration, an id, a time, or a `Label`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from domain.errors import OccurredInFuture
from domain.policy import MAX_CLOCK_AHEAD, ActorKind

_T = TypeVar("_T")


class _Personal:
    """Marker in a field's metadata."""


PERSONAL = _Personal()
Personal = Annotated[_T, PERSONAL]

MAX_TEXT_CHARS = 20_000
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)]
Name = Annotated[str, Field(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$")]
"""One line of text that is not blank."""


_CONTACT = re.compile(r"@|\(at\)|\+\d[\d ()-]{6,}")


def _no_address(value: str) -> str:
    if _CONTACT.search(value):
        raise ValueError("is stored unencrypted and must not hold an address or a phone number")
    return value


Label = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$"),
    AfterValidator(_no_address),
]
"""A name the controller chose (campaign, purpose, source); stored in the clear, so never about a person."""


def _folded(value: Any) -> Any:
    return "_".join(value.lower().split()) if isinstance(value, str) else value


Purpose = Annotated[Label, BeforeValidator(_folded)]
"""What data is used for. Folded, so that an opt-out for "Recruiting" is one for `recruiting`."""

HexId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""A candidate's or pool's random id: 32 hexadecimal digits, no meaning."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _is_a_time(value: Any) -> Any:
    """A bare number has no unit and no zone that anybody agreed on."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise ValueError("must be an RFC 3339 time with a zone, such as 2026-03-01T09:30:00Z")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the calendar") from None


UtcDatetime = Annotated[AwareDatetime, BeforeValidator(_is_a_time), AfterValidator(_in_utc)]
"""A time with a zone, held in UTC; a time without one is refused."""


class Event(BaseModel):
    """Something that happened. Immutable; equal when every field is."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="iso8601")

    type: ClassVar[str]
    v: ClassVar[int]

    occurred_at: UtcDatetime
    actor_kind: ActorKind = ActorKind.SYSTEM
    actor: Personal[Name]
    source: Label | None = None
    correlation: HexId | None = None
    interaction: Personal[Name] | None = None
    """The caller's id of the interaction; the same id is recorded once."""

    def __init_subclass__(cls, *, type: str | None = None, v: int = 1, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if type is not None:
            cls.type, cls.v = type, v


@cache
def personal_fields(event: type[Event]) -> frozenset[str]:
    """Names of the fields declared `Personal[...]`, optional ones included."""
    return frozenset(name for name, f in event.model_fields.items() if _is_personal(f.annotation, f.metadata))


def _is_personal(annotation: Any, metadata: list[Any]) -> bool:
    if PERSONAL in metadata:
        return True
    arguments = (*getattr(annotation, "__metadata__", ()), *getattr(annotation, "__args__", ()))
    return any(a is PERSONAL or _is_personal(a, []) for a in arguments)


_E = TypeVar("_E", bound=Event)


def catalogue(*classes: type[_E]) -> Mapping[str, type[_E]]:
    """The table of event classes by their stable type.

    Raises ValueError when two share a type.
    """
    table = {c.type: c for c in classes}
    if len(table) != len(classes):
        raise ValueError("two event classes share a type")
    return table


@dataclass(frozen=True, slots=True)
class Recorded(Generic[_E]):
    """An event as the ledger holds it: `version` in its aggregate, `seq` in the ledger, and when it was taken."""

    id: str
    version: int
    seq: int
    recorded_at: datetime
    event: _E


def utc_now() -> datetime:
    """The clock, with its zone. The only clock in the domain; commands take the time as a value."""
    return datetime.now(UTC)


def check_clock(event: Event, now: datetime) -> None:
    """Raises OccurredInFuture when `event` claims to lie further ahead of `now` than clocks may differ."""
    if event.occurred_at > now + MAX_CLOCK_AHEAD:
        raise OccurredInFuture(
            f"occurred_at {event.occurred_at.isoformat()} is more than 24 hours ahead of now; "
            "correct the clock or the time"
        )
