"""Between domain events and their stored form; the format is written down in `docs/event-format.md`.

    state = {"v": 1, "occurred_at": "…Z", …clear fields…, "sealed": base64(personal fields, sealed)}

The personal fields are one JSON object, sealed with the aggregate's key and bound to aggregate id, version,
type and schema version, so that a sealed block moved elsewhere does not open.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from eventsourcing.persistence import StoredEvent
from pydantic import ValidationError

from domain import candidate, pool
from domain.event import Event, personal_fields
from domain.upcasters import Fields, UnknownEventError, UpcastError, upcast
from infra.crypto import sealing

CATALOGUES: Mapping[str, Mapping[str, type[Event]]] = {candidate.KIND: candidate.EVENTS, pool.KIND: pool.EVENTS}


class KeyDestroyedError(Exception):
    """The personal part cannot be opened any more: the aggregate's key is gone."""


class Opened(NamedTuple):
    """An event's fields: those in the clear, and the personal ones (None without a key). `v` is the version stored."""

    v: int
    clear: Fields
    personal: Fields | None


def aggregate_id(kind: str, hex_id: str) -> str:
    """The ledger's name of an aggregate, such as `candidate-9f…`."""
    return f"{kind}-{hex_id}"


def split_id(name: str) -> tuple[str, str]:
    """Kind and 32-digit id of an aggregate's name."""
    kind, _, hex_id = name.partition("-")
    return kind, hex_id


def encode(name: str, version: int, event: Event, key: bytes, nonce: bytes | None = None) -> StoredEvent:
    """The stored form of `event` as `version` of aggregate `name`. `nonce` is for golden files only."""
    clear, secret = _parts(event)
    state = {"v": event.v, **clear}
    sealed = sealing.seal(key, orjson.dumps(secret), _context(name, version, event.type, event.v), nonce)
    state["sealed"] = base64.b64encode(sealed).decode()
    return StoredEvent(name, version, event.type, orjson.dumps(state))


def open_state(name: str, version: int, type_: str, state: Fields, key: bytes | None) -> Opened:
    """The fields of a stored state, as they are stored.

    Raises SealBrokenError when the sealed block was altered or belongs elsewhere, UnknownEventError when the
    state has no schema version.
    """
    clear = dict(state)
    v, sealed = clear.pop("v", None), clear.pop("sealed", None)
    if not isinstance(v, int) or isinstance(v, bool) or not isinstance(sealed, str):
        raise UnknownEventError(f"{name} version {version} is not an event of Rapport")
    if key is None:
        return Opened(v, clear, None)
    plain = sealing.unseal(key, binascii.a2b_base64(sealed), _context(name, version, type_, v))
    return Opened(v, clear, orjson.loads(plain))


def event_class(kind: str, type_: str) -> type[Event]:
    """The class of a stored type. Raises UnknownEventError."""
    try:
        return CATALOGUES[kind][type_]
    except KeyError:
        raise UnknownEventError(f"unknown {kind} event {type_}; it was written by a newer Rapport") from None


def open_newest(name: str, version: int, type_: str, state: Fields, key: bytes | None) -> Opened:
    """The fields of a stored state as the newest version of its type would have stored them.

    An event of an old version is what `decode` makes of it; without a key, the same clear fields. Raises
    SealBrokenError, UnknownEventError, or UpcastError when a step yields what the newest version does not take.
    """
    kind, _ = split_id(name)
    cls = event_class(kind, type_)
    opened = open_state(name, version, type_, state, key)
    if opened.v == cls.v:
        return opened
    clear, personal = upcast(kind, type_, opened.v, cls.v, opened.clear, opened.personal)
    clear = {k: f for k, f in clear.items() if f is not None}
    if personal is not None:
        clear, personal = _checked(kind, cls, opened.v, clear, personal)
    return Opened(opened.v, clear, personal)


def _checked(kind: str, cls: type[Event], v: int, clear: Fields, personal: Fields) -> tuple[Fields, Fields]:
    """What `cls` would have stored of these fields. Raises UpcastError when that differs in the clear."""
    try:
        stored, sealed = _parts(cls.model_validate({**clear, **personal}))
    except ValidationError as error:
        wrong = {str(e["loc"][0]) if e["loc"] else "the whole" for e in error.errors()}
    else:
        if stored == clear:
            return stored, sealed
        wrong = {k for k in stored.keys() | clear.keys() if stored.get(k) != clear.get(k)}
    names = ", ".join(sorted(wrong))
    raise UpcastError(f"{kind} event {cls.type} of version {v} does not become one of version {cls.v}: {names}")


def decode(name: str, version: int, type_: str, state: dict[str, Any], key: bytes | None) -> Event:
    """The domain event in a stored state.

    Raises KeyDestroyedError, SealBrokenError or UnknownEventError.
    """
    kind, _ = split_id(name)
    cls = event_class(kind, type_)
    opened = open_newest(name, version, type_, state, key)
    if opened.personal is None:
        raise KeyDestroyedError(f"the key of {name} was destroyed")
    return cls.model_validate({**opened.clear, **opened.personal})


def _parts(event: Event) -> tuple[Fields, Fields]:
    """The clear and the personal fields that have a value."""
    personal = personal_fields(type(event))
    fields = event.model_dump(mode="json", exclude_none=True)
    return (
        {k: f for k, f in fields.items() if k not in personal},
        {k: f for k, f in fields.items() if k in personal and f != []},
    )


def _context(name: str, version: int, type_: str, v: int) -> bytes:
    return f"{name}|{version}|{type_}|{v}".encode()
