"""Every event type as if it were at its third version, and the stored forms of the two before it.

Between them a personal field and a clear one got other names, the personal fields lost a prefix, and what stood in the
clear as `reference` became the personal `interaction`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from eventsourcing.persistence import StoredEvent

from domain.event import Event
from domain.upcasters import UPCASTERS, Fields, Step
from infra import codec
from infra.crypto import sealing

NEWEST = 3


def renamed(fields: Fields, old: str, new: str) -> Fields:
    """The fields, one of them under another name if it is there."""
    return {new if name == old else name: value for name, value in fields.items()}


def _without_reference(clear: Fields) -> Fields:
    return {name: value for name, value in clear.items() if name != "reference"}


def _with_interaction(personal: Fields, clear: Fields) -> Fields:
    moved = {"interaction": clear["reference"]} if "reference" in clear else {}
    return {name.removeprefix("old_"): value for name, value in personal.items()} | moved


FIRST = Step(clear=_without_reference, personal=_with_interaction)
SECOND = Step(
    clear=lambda clear: renamed(clear, "origin", "source"),
    personal=lambda personal, _: renamed(personal, "by", "actor"),
)


@contextmanager
def three_versions() -> Iterator[pytest.MonkeyPatch]:
    """Inside, every event type has the steps FIRST and SECOND behind it."""
    with pytest.MonkeyPatch.context() as patch:
        for kind, table in codec.CATALOGUES.items():
            for type_, cls in table.items():
                patch.setattr(cls, "v", NEWEST)
                patch.setitem(UPCASTERS, (kind, type_, 1), FIRST)
                patch.setitem(UPCASTERS, (kind, type_, 2), SECOND)
        yield patch


def stored_as(v: int, name: str, version: int, event: Event, key: bytes) -> StoredEvent:
    """What a Rapport would have stored of `event` when its type was at version `v`."""
    newest = codec.encode(name, version, event, key)
    if v == NEWEST:
        return newest
    opened = codec.open_state(name, version, event.type, orjson.loads(newest.state), key)
    assert opened.personal is not None
    clear, personal = renamed(opened.clear, "source", "origin"), renamed(opened.personal, "actor", "by")
    if v == 1:
        interaction = personal.pop("interaction", None)
        clear |= {"reference": interaction} if interaction is not None else {}
        personal = {f"old_{name}": value for name, value in personal.items()}
    return sealed_by_hand(name, version, event.type, v, clear, personal, key)


def sealed_by_hand(
    name: str, version: int, type_: str, v: int, clear: dict[str, Any], personal: dict[str, Any], key: bytes
) -> StoredEvent:
    """A stored event of whatever fields, in the form that `docs/event-format.md` describes."""
    sealed = sealing.seal(key, orjson.dumps(personal), f"{name}|{version}|{type_}|{v}".encode())
    state = {"v": v, **clear, "sealed": base64.b64encode(sealed).decode()}
    return StoredEvent(name, version, type_, orjson.dumps(state))
