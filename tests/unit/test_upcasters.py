"""Old schema versions are read as the newest one, step by step, and whatever cannot be says why."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from domain.event import Event
from domain.upcasters import UPCASTERS, Step, UnknownEventError, UpcastError
from infra import codec
from tests.older import NEWEST, sealed_by_hand, stored_as, three_versions
from tests.unit.histories import EPOCH, anything, examples, pool_events, pools_created

KEY = bytes(range(32))
NAME = "candidate-" + "c0" * 16
CLEAR = {"occurred_at": "2026-01-01T00:00:00Z", "actor_kind": "user"}


@pytest.fixture(scope="module", autouse=True)
def versions() -> Iterator[pytest.MonkeyPatch]:
    with three_versions() as patch:
        yield patch


def opened(event: Any, key: bytes | None = KEY) -> codec.Opened:
    name, version = str(event.originator_id), event.originator_version
    return codec.open_newest(name, version, event.topic, orjson.loads(event.state), key)


def decoded(event: Any, key: bytes | None = KEY) -> Event:
    name, version = str(event.originator_id), event.originator_version
    return codec.decode(name, version, event.topic, orjson.loads(event.state), key)


def tagged(v: int, personal: dict[str, Any], **clear: Any) -> Any:
    return sealed_by_hand(NAME, 3, "tagged", v, CLEAR | clear, personal, KEY)


@given(st.one_of(*anything, pools_created, pool_events), st.sampled_from([1, 2]), st.booleans())
@examples(200)
def test_an_event_of_any_version_is_read_as_if_it_had_been_stored_in_the_newest(
    event: Event, v: int, referred: bool
) -> None:
    """By commands (`decode`) and by the views (`open_newest`) alike; without its key, with the same clear fields."""
    if referred:
        event = event.model_copy(update={"interaction": "sendgrid:1", "source": "sendgrid"})
    name = f"{'pool' if event.type in codec.CATALOGUES['pool'] else 'candidate'}-{'c0' * 16}"
    old, new = stored_as(v, name, 3, event, KEY), codec.encode(name, 3, event, KEY)
    assert decoded(old) == decoded(new) == event
    assert opened(old) == opened(new)._replace(v=v)
    assert opened(old, key=None) == opened(new)._replace(v=v, personal=None)


def test_two_steps_lead_from_the_first_version_to_the_third() -> None:
    event = tagged(1, {"old_tag": "python", "old_by": "user:x"}, origin="ats", reference="sendgrid:1")
    expected = c.Tagged(
        occurred_at=EPOCH, actor_kind="user", actor="user:x", source="ats", interaction="sendgrid:1", tag="python"
    )
    assert decoded(event) == expected
    assert opened(event).v == 1
    assert opened(event).clear == CLEAR | {"source": "ats"}
    assert opened(event).personal == {"tag": "python", "actor": "user:x", "interaction": "sendgrid:1"}


def test_what_became_personal_is_not_shown_in_the_clear_even_without_the_key() -> None:
    event = tagged(1, {"old_tag": "python"}, reference="message-to-ada@example.com")
    assert opened(event, key=None) == codec.Opened(1, CLEAR, None)


def test_a_version_newer_than_the_code_is_named() -> None:
    with pytest.raises(UnknownEventError, match="candidate event tagged has schema version 4, known up to 3"):
        opened(tagged(NEWEST + 1, {"tag": "python"}))


@pytest.mark.parametrize("v", [0, -1])
def test_a_version_that_never_was_is_named(v: int) -> None:
    with pytest.raises(UnknownEventError, match=f"no upcaster for candidate event tagged from version {v}"):
        opened(tagged(v, {"tag": "python"}))


def test_a_missing_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(UPCASTERS, ("candidate", "tagged", 2))
    with pytest.raises(UnknownEventError, match="no upcaster for candidate event tagged from version 2"):
        opened(tagged(1, {"old_tag": "python"}))


@pytest.mark.parametrize("part", ["clear", "personal"])
def test_a_step_that_fails_is_named_without_what_it_failed_on(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    def stumble(*fields: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(f"cannot read {fields[0]}")

    monkeypatch.setitem(UPCASTERS, ("candidate", "tagged", 2), Step(**{part: stumble}))
    for read in (opened, decoded):
        with pytest.raises(UpcastError) as caught:
            read(tagged(1, {"old_tag": "secret-tag"}))
        assert str(caught.value) == "candidate event tagged of version 1 cannot be read as version 3: ValueError"
        assert caught.value.__suppress_context__


def kept(personal: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
    return {"tag": personal["tag"], "actor": personal["by"]}


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        (Step(personal=lambda p, c: {**kept(p, c), "by": "user:x"}), "by"),  # unknown to the newest version
        (Step(personal=lambda p, _: {"actor": p["by"]}), "tag"),  # which needs it
        (Step(personal=lambda p, c: {**kept(p, c), "tag": [p["tag"]]}), "tag"),  # of another type there
        (Step(lambda c: c | {"tag": "secret-tag"}, lambda p, _: {"actor": p["by"]}), "tag"),  # personal there
        (Step(lambda c: c | {"actor_kind": "robot"}, kept), "actor_kind"),
        (Step(lambda c: c | {"occurred_at": "2026-01-01T01:00:00+01:00"}, kept), "occurred_at"),  # stored in UTC
    ],
)
def test_a_step_whose_fields_the_newest_version_would_not_store_is_named(
    monkeypatch: pytest.MonkeyPatch, step: Step, wrong: str
) -> None:
    """Otherwise commands and views would each make something else of them."""
    monkeypatch.setitem(UPCASTERS, ("candidate", "tagged", 2), step)
    for read in (opened, decoded):
        with pytest.raises(UpcastError) as caught:
            read(tagged(2, {"tag": "secret-tag", "by": "user:x"}))
        assert str(caught.value) == f"candidate event tagged of version 2 does not become one of version 3: {wrong}"


def test_a_step_sees_both_parts_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken_from(clear: dict[str, Any]) -> dict[str, Any]:
        return {name: clear.pop(name) for name in CLEAR}

    step = Step(taken_from, lambda p, c: {"tag": p["tag"], "actor": c["origin"]} if c.keys() > CLEAR.keys() else {})
    monkeypatch.setitem(UPCASTERS, ("candidate", "tagged", 2), step)
    assert opened(tagged(2, {"tag": "python"}, origin="ats")).personal == {"tag": "python", "actor": "ats"}
