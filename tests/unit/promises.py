"""What every provider promises of what it reads, and deliveries to hold it to that."""

import copy
import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from consumers.webhooks.delivery import Delivery, Happening, Provider, Refused, Unreadable
from domain.candidate import CandidateEvent
from domain.interaction import event_of, parse
from infra.deciding import into_reference
from infra.identifiers import identifiers_of

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
OTHER_DAY = NOW + timedelta(hours=15)
ID = "0" * 32
A_FEW = settings(max_examples=1_000 if os.environ.get("RAPPORT_SOAK") else 60)


def delivery(body: Any, headers: Mapping[str, str] | None = None, received_at: datetime = NOW) -> Delivery:
    """A delivery of these bytes, or of this document as JSON."""
    return Delivery(headers or {}, body if isinstance(body, bytes) else orjson.dumps(body), received_at)


def hexadecimal(secret: str, message: bytes) -> str:
    """What a sender that holds `secret` signs with."""
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def records(happenings: list[Happening]) -> list[dict[str, Any]]:
    """The records told of, each of which the API would take: they are parsed, normalised and made into events."""
    for record in (found := [h.record for h in happenings if h.record is not None]):
        assert event(record).interaction == record["id"]
    return found


def event(record: dict[str, Any]) -> CandidateEvent:
    """The event a record becomes. Raises InvalidInteraction."""
    interaction = parse(record)
    into = into_reference(interaction)
    if into is not None:
        assert identifiers_of(into)
    return event_of(
        interaction, identifiers=identifiers_of(interaction.candidate), into=ID if into is not None else None
    )


def brief(happenings: list[Happening]) -> list[tuple[str, dict[str, Any]]]:
    """Types and data of what is told, for comparing; times and references are looked at where they matter."""
    return [(record["type"], record["data"]) for record in records(happenings)]


def refused(provider: Provider, what: Delivery, secrets: list[str], now: datetime = NOW) -> str:
    """The code that the delivery is refused with; its sentence repeats nothing of it."""
    with pytest.raises(Refused) as refusal:
        provider.verify(what, secrets, now)
    assert not [secret for secret in secrets if secret and secret in str(refusal.value)]
    return refusal.value.code


def check_what_cannot_be_read(provider: Provider, headers: Mapping[str, str], action: str) -> None:
    """Claims: what is no JSON object or does not say what happened is Unreadable; an unknown kind is kept and shown."""
    for body in (b"", b"\xff", b"{", b"nonsense", b"[]", b"3", b"null", b"{}", b'{"%s": 4}' % action.encode()):
        with pytest.raises(Unreadable):
            provider.read(delivery(body, headers))
    (unheard_of,) = provider.read(delivery({action: "candidate_teleported"}, headers))
    assert unheard_of == Happening("candidate_teleported", known=False)
    (hostile,) = provider.read(delivery({action: "ada@example.com" * 99}, headers))
    assert "@" not in hostile.kind
    assert not hostile.known


def check_what_is_told(provider: Provider, what: Delivery) -> None:
    """Claims: whatever is wrong in a payload, what comes of it is an interaction that Rapport takes, or Unreadable; and
    another delivery of the same gives the same ids.
    """
    try:
        told = records(provider.read(what))
    except Unreadable as problem:
        assert "\n" not in str(problem)
        return
    assert all(record["id"].startswith(f"{provider.name}:") for record in told)
    assert len({(record["id"], record["type"]) for record in told}) == len(told)
    again = Delivery(what.headers, what.body, OTHER_DAY)
    assert [record["id"] for record in records(provider.read(again))] == [record["id"] for record in told]


TEXTS = ["", " ", "a@b.example", "x" * 400, "\x00", "Ada\nLovelace", "+44 20 7946 0018"]
AWKWARD = [*TEXTS, None, True, -1, 2**63, 1.5, [], {}, [None], {"id": "a@b.example"}]
numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=30) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def broken(*documents: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """One of the documents, with anything in place of something in it."""
    places = [(document, path) for document in documents for path in _paths(document)]
    return st.builds(_with, st.sampled_from(places), anything)


def check_each_place(provider: Provider, headers: Mapping[str, str], *documents: dict[str, Any]) -> None:
    """Holds what is told to its promises with each awkward value, and with none, in each place of the documents."""
    for document in documents:
        for path in _paths(document):
            for value in (*AWKWARD, _GONE):
                check_what_is_told(provider, delivery(_with((document, path), value), headers))


_GONE = object()


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, found in inner:
        yield from _paths(found, (*path, key))


def _with(place: tuple[dict[str, Any], tuple[str | int, ...]], value: Any) -> dict[str, Any]:
    document, (*above, last) = copy.deepcopy(place[0]), place[1]
    inner: Any = document
    for step in above:
        inner = inner[step]
    if value is _GONE:
        del inner[last]
    else:
        inner[last] = value
    return document
