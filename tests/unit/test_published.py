"""What the feed says follows from the event alone, is as its schema has it, and holds nothing personal."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.feed_description import document, page
from api.http.streams import matching
from consumers.relay import fact_of
from domain import candidate as c
from domain.band import band_of
from domain.event import personal_fields
from domain.published import UNREADABLE, Message, messages, place_of, public_fields
from domain.published_schemas import schemas
from infra import codec
from infra.crypto.sealing import new_key
from infra.feed import Place
from infra.jetstream import RawMessage
from infra.jetstream.message import encode
from tests.golden.samples import samples
from tests.unit.histories import examples

GOLDEN = Path(__file__).parents[1] / "golden" / "feed" / "v1.json"
MARKER = "Zzyzx"
ID = "0123456789abcdef" * 2
RECORDED_AT = datetime(2026, 3, 1, tzinfo=UTC)
SAMPLES = {e.type: e for e in samples().values() if isinstance(e, c.CandidateEvent)}
VALIDATORS = {type_: jsonschema_rs.Draft202012Validator(dict(schema)) for type_, schema in schemas().items()}


@st.composite
def events(draw: st.DrawFn) -> c.CandidateEvent:
    """Any type of event: the marker in every personal field, and any of the fields absent that may be."""
    sample = SAMPLES[draw(st.sampled_from(sorted(SAMPLES)))]
    fields: dict[str, Any] = dict(sample)
    cls = type(sample)
    for name in personal_fields(cls):
        some = f"{MARKER} {draw(st.text('xyz@+1', max_size=5))}x"
        fields[name] = {"skills": (some,), "identifiers": (f"email:{some}", f"ref:{some}")}.get(name, some)
    optional = [name for name, field in cls.model_fields.items() if not field.is_required()]
    for name in draw(st.lists(st.sampled_from(optional), unique=True)):
        del fields[name]
    return cls.model_validate(fields)


def stored(event: c.CandidateEvent, seq: int = 7, **document: Any) -> RawMessage:
    """As the ledger hands it out, sealed with a key that nobody has; with members of it replaced."""
    body = encode(codec.encode(codec.aggregate_id(c.KIND, ID), 3, event, new_key()))
    if document:
        body = json.dumps(json.loads(body) | document).encode()
    return RawMessage(seq, int(RECORDED_AT.timestamp()) * 10**9, f"ledger.candidate.01.{ID}", body)


def said(event: c.CandidateEvent, **document: Any) -> list[Message]:
    fact = fact_of(stored(event, **document))
    assert fact is not None
    return messages(fact)


@examples(100)
@given(events())
def test_no_personal_field_of_any_event_gets_into_a_message_and_each_is_as_its_schema_has_it(
    event: c.CandidateEvent,
) -> None:
    for message in said(event):
        assert MARKER not in repr(message)
        assert "actor" not in message.data
        assert "interaction" not in message.data
        VALIDATORS[message.type].validate(message.data)
        assert set(message.data) <= set(schemas()[message.type]["properties"]), "the schema names every field"


@pytest.mark.parametrize("type_", sorted(c.EVENTS))
def test_an_event_gives_one_message_with_all_its_clear_fields_and_one_for_its_effect(type_: str) -> None:
    event = SAMPLES[type_]
    if isinstance(event, c.Erased):
        event = event.model_copy(update={"bodies": (), "envelopes": None})  # the first of them
    first, *rest = said(event)
    clear = set(event.model_dump(mode="json", exclude_none=True)) & public_fields(type(event))
    assert first.type == f"candidate.{type_}"
    assert set(first.data) == clear | {"candidate", "seq", "version", "recorded_at"}
    assert (first.id, first.subject, first.data["seq"], first.data["version"]) == ("7", ID, 7, 3)
    assert first.data["recorded_at"] == "2026-03-01T00:00:00Z"
    effects = {
        "opted_out": "opted_out",
        "complained": "opted_out",
        "consent_withdrawn": "opted_out",
        "profile_corrected": "rectified",
        "restricted": "restricted",
        "restriction_lifted": "restriction_lifted",
        "erased": "erased",
    }
    assert [m.type for m in rest] == ([f"compliance.{effects[type_]}"] if type_ in effects else [])
    assert all(m.id == f"7/{effects[type_]}" and place_of(m.id) == (7, effects[type_]) for m in rest)


def test_that_bodies_go_after_an_erasure_is_no_second_erasure() -> None:
    erased = SAMPLES["erased"].model_copy(update={"bodies": ((3, "sha256:" + "0" * 64),)})
    assert [m.type for m in said(erased)] == ["candidate.erased"]


def test_an_opt_out_says_what_it_covers_and_by_which_right() -> None:
    said_of = {t: said(SAMPLES[t])[1].data for t in ("opted_out", "complained", "consent_withdrawn")}
    of = {t: {k: d.get(k) for k in ("channel", "purpose", "right", "because")} for t, d in said_of.items()}
    assert of == {
        "opted_out": {"channel": "email", "purpose": "recruiting", "right": "art_21", "because": "opted_out"},
        "complained": {"channel": "email", "purpose": None, "right": "art_21", "because": "complained"},
        "consent_withdrawn": {
            "channel": "email",
            "purpose": "open_tracking",
            "right": "art_7_3",
            "because": "consent_withdrawn",
        },
    }


@pytest.mark.parametrize(
    "broken",
    [{"type": "from_the_future"}, {"type": 3}, {"version": "x"}, {"id": "candidate-else"}, {"state": {}}, {"state": 1}],
)
def test_an_event_that_cannot_be_read_is_told_of_by_its_place_alone(broken: dict[str, Any]) -> None:
    (message,) = said(SAMPLES["sourced"], **broken)
    assert message.type == UNREADABLE
    assert set(message.data) == {"candidate", "seq", "version", "recorded_at"}
    VALIDATORS[UNREADABLE].validate(message.data)


def test_bytes_that_are_no_event_are_told_of_and_pools_are_not() -> None:
    raw = stored(SAMPLES["sourced"])
    for body in (b"", b"{", b"[]", b"null", b"\xff"):
        fact = fact_of(raw._replace(body=body))
        assert fact is not None
        assert [m.type for m in messages(fact)] == [UNREADABLE]
    assert fact_of(raw._replace(subject=f"ledger.pool.01.{ID}")) is None


@given(st.builds(Place, *[st.integers(0, 2**60)] * 7))
def test_a_place_is_read_back_from_the_header_it_is_written_in(place: Place) -> None:
    header = b"NATS/1.0\r\nContent-Type: x\r\nRapport-Place: " + place.text.encode() + b"\r\nNats-Batch-Id: y\r\n\r\n"
    assert Place.of(header) == place


@pytest.mark.parametrize("text", ["", "x", "-1", "1/2", "1/", "1/erased/2", "９", "9" * 40, "1/joined"])
def test_what_is_no_id_of_the_feed_names_no_place(text: str) -> None:
    assert place_of(text) is None or (text, place_of(text)) == ("1/", (1, None))


@pytest.mark.parametrize(
    ("patterns", "matches", "differs"),
    [
        ([], ["pool.joined"], []),
        (["pool.joined"], ["pool.joined"], ["pool.left", "pool.joined.x", "pool"]),
        (["pool.*"], ["pool.left"], ["pool", "candidate.sourced"]),
        (["compliance.>", "pool.left"], ["compliance.erased", "pool.left"], ["compliance", "pool.joined"]),
        ([">"], ["pool.left"], []),
        (["*.opted_out"], ["candidate.opted_out", "compliance.opted_out"], ["candidate.sourced"]),
    ],
)
def test_types_are_chosen_as_nats_chooses_subjects(patterns: list[str], matches: list[str], differs: list[str]) -> None:
    wanted = matching(patterns)
    assert [t for t in matches + differs if wanted(t)] == matches


@pytest.mark.parametrize(("score", "band"), [(0, "cold"), (19.9, "cold"), (20, "warm"), (59.9, "warm"), (60, "hot")])
def test_a_band_begins_at_its_threshold(score: float, band: str) -> None:
    assert band_of(score) == band


# ── schemas ────────────────────────────────────────────────────────────────────────────────────────


def narrowed(old: Any, new: Any, at: str = "") -> list[str]:
    """Where `new` takes away, or demands, what `old` did not: what a subscriber of v1 could stumble over."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = [f"{at}/{key} is gone" for key in old if key not in new and key not in ("description", "pattern")]
        if at.rpartition("/")[2] != "properties" and "type" in old:
            fewer = set(old.get("required", ())) - set(new.get("required", ()))
            found += [f"{at}: {name} is not always there any more" for name in sorted(fewer)]
        for key in old.keys() & new.keys() - {"description", "required", "$id"}:
            found += narrowed(old[key], new[key], f"{at}/{key}")
        return found
    if isinstance(old, list) and isinstance(new, list):
        return [] if all(item in new for item in old) else [f"{at}: a value is gone"]
    return [] if old == new else [f"{at} was {old!r} and is {new!r}"]


def test_version_1_of_every_published_type_has_only_grown() -> None:
    """A new type is added to the golden file; one that is in it keeps its fields, their types and their words."""
    golden = json.loads(GOLDEN.read_text())
    assert [f"{t}{fault}" for t in golden for fault in narrowed(golden[t], schemas().get(t, {}))] == []


def test_every_published_type_is_in_the_golden_file() -> None:
    missing = sorted(schemas().keys() - json.loads(GOLDEN.read_text()).keys())
    assert not missing, f"add their schemas, as `domain.published_schemas.schemas()` has them, to {GOLDEN.name}"


def test_a_schema_that_shrinks_is_noticed() -> None:
    golden = json.loads(GOLDEN.read_text())
    old = golden["pool.joined"]
    for change in ("drop", "type", "require", "enum"):
        new = json.loads(json.dumps(old))
        if change == "drop":
            del new["properties"]["seq"]
        elif change == "type":
            new["properties"]["seq"]["type"] = "string"
        elif change == "require":
            new["required"] = []
        else:
            old, new = golden["engagement.band_changed"], json.loads(json.dumps(golden["engagement.band_changed"]))
            new["properties"]["to"]["enum"] = ["cold"]
        assert narrowed(old, new), change
    assert narrowed(old, old | {"properties": old["properties"] | {"more": {"type": "string"}}}) == []


def test_every_schema_is_one_of_its_dialect_and_refers_to_nothing_else() -> None:
    for type_, schema in schemas().items():
        jsonschema_rs.meta.validate(dict(schema))
        assert "$ref" not in json.dumps(schema), type_
        assert "actor" not in schema["properties"], type_


def test_the_asyncapi_document_keeps_the_rules_of_version_3() -> None:
    """Its required members, every reference resolved, channels and operations by addresses that exist."""
    made = document("https://crm.example.com/rapport", "1.2.3")
    assert made["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= made["info"].keys()
    for server in made["servers"].values():
        assert {"host", "protocol"} <= server.keys()
    assert made["servers"]["sse"]["host"] == "crm.example.com"
    assert made["servers"]["sse"]["pathname"] == "/rapport"

    def resolved(reference: str) -> Any:
        found: Any = made
        for part in reference.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return found

    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            return [part["$ref"]] if "$ref" in part else [r for value in part.values() for r in references(value)]
        return [r for item in part for r in references(item)] if isinstance(part, list) else []

    assert all(resolved(reference) for reference in references(made))
    by_address = {channel["address"]: channel for channel in made["channels"].values()}
    assert by_address.keys() == {"/v1/feed", *(f"feed.{t}" for t in schemas())}
    assert by_address["/v1/feed"]["messages"].keys() == schemas().keys()
    for address, channel in by_address.items():
        assert channel["servers"] == [{"$ref": f"#/servers/{'sse' if address.startswith('/') else 'nats'}"}]
    for operation in made["operations"].values():
        assert operation["action"] == "send"
        channel = operation["channel"]["$ref"]
        assert all(m["$ref"].startswith(f"{channel}/messages/") for m in operation.get("messages", []))
    key = re.compile(r"[A-Za-z0-9._-]+")
    assert all(key.fullmatch(name) for section in made["components"].values() for name in section)


def test_the_page_names_every_type_and_loads_nothing() -> None:
    shown = page("feed")
    assert all(f"feed.{type_}<" in shown for type_ in schemas())
    assert "<script" not in shown
    assert "http://" not in shown and "https://" not in shown
