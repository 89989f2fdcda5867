"""Between domain events and their stored form; the format is written down in `docs/event-format.md`.

    state = {"v": 1, "occurred_at": "…Z", …clear fields…, "sealed": base64(personal fields, sealed)}

The personal fields are one JSON object, sealed with the aggregate's key and bound to aggregate id, version,
type and schema version, so that a sealed block moved elsewhere does not open.
"""

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from eventsourcing.persistence import StoredEvent

from domain import candidate, pool
from domain.event import Event, personal_fields
from domain.upcasters import UnknownEventError, upcast
from infra.crypto import sealing

CATALOGUES: Mapping[str, Mapping[str, type[Event]]] = {candidate.KIND: candidate.EVENTS, pool.KIND: pool.EVENTS}


class KeyDestroyedError(Exception):
    """The personal part cannot be opened any more: the aggregate's key is gone."""


class Opened(NamedTuple):
    """An event's fields as stored: those in the clear, and the personal ones as JSON (None without a key)."""

    v: int
    clear: dict[str, Any]
    personal: bytes | None


def aggregate_id(kind: str, hex_id: str) -> str:
    """The ledger's name of an aggregate, such as `candidate-9f…`."""
    return f"{kind}-{hex_id}"


def split_id(name: str) -> tuple[str, str]:
    """Kind and 32-digit id of an aggregate's name."""
    kind, _, hex_id = name.partition("-")
    return kind, hex_id


def encode(name: str, version: int, event: Event, key: bytes, nonce: bytes | None = None) -> StoredEvent:
    """The stored form of `event` as `version` of aggregate `name`. `nonce` is for golden files only."""
    personal = personal_fields(type(event))
    fields = event.model_dump(mode="json", exclude_none=True)
    secret = {k: f for k, f in fields.items() if k in personal and f != []}
    state = {"v": event.v, **{k: f for k, f in fields.items() if k not in personal}}
    sealed = sealing.seal(key, orjson.dumps(secret), _context(name, version, event.type, event.v), nonce)
    state["sealed"] = base64.b64encode(sealed).decode()
    return StoredEvent(name, version, event.type, orjson.dumps(state))


def open_state(name: str, version: int, type_: str, state: dict[str, Any], key: bytes | None) -> Opened:
    """The fields of a stored state.

    Raises SealBrokenError when the sealed block was altered or belongs elsewhere, UnknownEventError when the
    state has no schema version.
    """
    clear = dict(state)
    v, sealed = clear.pop("v", None), clear.pop("sealed", None)
    if not isinstance(v, int) or not isinstance(sealed, str):
        raise UnknownEventError(f"{name} version {version} is not an event of Rapport")
    if key is None:
        return Opened(v, clear, None)
    plain = sealing.unseal(key, base64.b64decode(sealed), _context(name, version, type_, v))
    return Opened(v, clear, plain)


def event_class(kind: str, type_: str) -> type[Event]:
    """The class of a stored type. Raises UnknownEventError."""
    try:
        return CATALOGUES[kind][type_]
    except KeyError:
        raise UnknownEventError(f"unknown {kind} event {type_}; it was written by a newer Rapport") from None


def decode(name: str, version: int, type_: str, state: dict[str, Any], key: bytes | None) -> Event:
    """The domain event in a stored state.

    Raises KeyDestroyedError, SealBrokenError or UnknownEventError.
    """
    kind, _ = split_id(name)
    cls = event_class(kind, type_)
    opened = open_state(name, version, type_, state, key)
    if opened.personal is None:
        raise KeyDestroyedError(f"the key of {name} was destroyed")
    return cls.model_validate(upcast(kind, type_, opened.v, cls.v, {**opened.clear, **orjson.loads(opened.personal)}))


def _context(name: str, version: int, type_: str, v: int) -> bytes:
    return f"{name}|{version}|{type_}|{v}".encode()
