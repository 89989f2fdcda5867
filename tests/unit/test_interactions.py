"""The record callers send: what is taken, what is refused, and in which words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.references import reference_of
from domain.errors import InvalidInteraction
from domain.event import personal_fields
from domain.interaction import Reference, event_of, parse
from infra.identifiers import identifiers_of

GOOD: dict[str, Any] = {
    "id": "sendgrid:1",
    "type": "opened",
    "candidate": {"email": "ada@example.com"},
    "occurred_at": "2026-03-01T10:30:00+01:00",
    "channel": "email",
    "source": "sendgrid",
    "actor": "system:sendgrid",
    "data": {"message": "m-123", "machine": False},
}


def test_a_good_record_becomes_an_event_in_utc() -> None:
    event = event_of(parse(GOOD))
    assert event.type == "opened"
    assert event.occurred_at.isoformat() == "2026-03-01T09:30:00+00:00"
    assert event.interaction == "sendgrid:1"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"type": "teleported"}, "unknown type 'teleported'"),
        ({"type": None}, "type: "),
        ({"occurred_at": "2026-03-01T10:30:00"}, "occurred_at: has no time zone"),
        ({"occurred_at": 1772357400}, "occurred_at: must be an RFC 3339 time"),
        ({"occurred_at": "yesterday"}, "occurred_at: "),
        ({"candidate": {}}, "candidate: name one of"),
        ({"candidate": {"twitter": "x"}}, "candidate.twitter: is not a field"),
        ({"candidate": {"ref": "123"}}, "candidate.ref: "),
        ({"colour": "red"}, "colour"),
        ({"candidate": {"\n": None}}, "candidate.?: is not a field"),
        ({"source": "ada@example.com"}, "source: is stored unencrypted"),
        ({"channel": "pigeon"}, "channel: "),
    ],
)
def test_a_bad_record_is_refused_with_the_field_that_is_wrong(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInteraction) as refusal:
        parse(GOOD | change)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("missing", ["type", "candidate", "occurred_at"])
def test_a_missing_field_is_named(missing: str) -> None:
    with pytest.raises(InvalidInteraction, match=f"{missing}: is missing"):
        parse({k: v for k, v in GOOD.items() if k != missing})


@pytest.mark.parametrize("document", [None, 3, "text", [], [GOOD]])
def test_what_is_not_an_object_is_refused(document: Any) -> None:
    with pytest.raises(InvalidInteraction, match="JSON object"):
        parse(document)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"mesage": "m-1"}, "data.mesage: is not a field of this type"),
        ({"machine": "perhaps"}, "data.machine: "),
        ({"occurred_at": "2026-03-01T10:30:00Z"}, "belongs beside"),
        ({"identifiers": ["email:eve@example.com"]}, "belongs beside"),
    ],
)
def test_data_that_does_not_fit_the_type_is_refused_by_name(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInteraction) as refusal:
        event_of(parse(GOOD | {"data": data}))
    assert sentence in str(refusal.value)


APPLICATION = {"job": "Backend engineer, Berlin", "stage": "interview", "reason": "Ada wants to stay remote"}


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("applied", {}),
        ("applied", APPLICATION),
        ("stage_changed", {"stage": "interview"}),
        ("stage_changed", APPLICATION),
        ("rejected", APPLICATION),
        ("hired", APPLICATION),
        ("preferences_updated", {"preferences": "remote roles only"}),
    ],
)
def test_what_a_tracking_system_reports_becomes_an_event_with_the_reason_sealed(type_: str, data: Any) -> None:
    event = event_of(parse(GOOD | {"type": type_, "source": "greenhouse", "data": data}))
    assert event.type == type_
    assert event.model_dump(include=set(data)) == data
    assert {"reason", "preferences"} & data.keys() <= personal_fields(type(event))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"job": "Backend engineer"}, "data.stage: is missing"),
        ({"stage": ""}, "data.stage: "),
        ({"stage": "ada@example.com"}, "data.stage: is stored unencrypted"),
        ({"stage": "offer", "job": "x" * 101}, "data.job: "),
        ({"stage": "offer", "status": "open"}, "data.status: is not a field of this type"),
    ],
)
def test_a_stage_that_says_none_or_names_somebody_is_refused(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInteraction) as refusal:
        event_of(parse(GOOD | {"type": "stage_changed", "data": data}))
    assert sentence in str(refusal.value)


def test_a_refusal_never_repeats_a_personal_value() -> None:
    marker = "Zarathustra-marker"
    for bad in (
        GOOD | {"candidate": {"email": f"{marker} at example"}},
        GOOD | {"candidate": {"phone": marker}},
        GOOD | {"candidate": {"profile": marker}},
        GOOD | {"data": {"message": {"nested": marker}}},
    ):
        with pytest.raises(InvalidInteraction) as refusal:
            interaction = parse(bad)
            identifiers_of(interaction.candidate)
            event_of(interaction)
        assert marker not in str(refusal.value)


def test_records_without_an_id_are_told_apart_by_their_content() -> None:
    nameless = {k: v for k, v in GOOD.items() if k != "id"}
    assert parse(nameless).id == parse(dict(reversed(nameless.items()))).id
    assert parse(nameless).id != parse(nameless | {"channel": "sms"}).id


@pytest.mark.parametrize(
    ("reference", "identifier"),
    [
        ({"email": " Ada.Lovelace@Example.COM "}, "email:ada.lovelace@example.com"),
        ({"phone": "+44 20 7946 0018"}, "phone:+442079460018"),
        ({"profile": "https://www.LinkedIn.com/in/Ada/?x=1"}, "profile:linkedin.com/in/ada"),
        ({"profile": "linkedin.com/in/ada"}, "profile:linkedin.com/in/ada"),
        ({"ref": "Greenhouse:123"}, "ref:greenhouse:123"),
    ],
)
def test_identifiers_are_compared_in_one_form(reference: dict[str, str], identifier: str) -> None:
    assert identifiers_of(Reference.model_validate(reference)) == (identifier,)


@pytest.mark.parametrize("written", ["recruiting", "Recruiting", " RECRUITING "])
def test_a_purpose_is_one_however_it_is_written(written: str) -> None:
    """An opt-out for "Recruiting" must not miss `recruiting`."""
    event = event_of(parse(GOOD | {"type": "opted_out", "data": {"purpose": written}}))
    assert getattr(event, "purpose", None) == "recruiting"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("ab" * 16, "id"),
        ("ada@example.com", "email"),
        ("+442079460018", "phone"),
        ("https://linkedin.com/in/ada", "profile"),
        ("greenhouse:123", "ref"),
        ("ref:fake_1000:7", "ref"),
        ("email:ada@example.com", "email"),
    ],
)
def test_a_reference_is_read_as_people_type_it(text: str, field: str) -> None:
    assert reference_of(text).model_fields_set == {field}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "x"]), json_values, max_size=8), st.sets(st.sampled_from(list(GOOD))))
def test_no_json_document_ends_in_anything_but_an_event_or_a_refusal(noise: dict[str, Any], kept: set[str]) -> None:
    try:
        interaction = parse({k: v for k, v in GOOD.items() if k in kept} | noise)
        identifiers_of(interaction.candidate)
        event_of(interaction)
    except InvalidInteraction as refusal:
        assert "\n" not in str(refusal)


def test_any_purpose_is_said_by_naming_none() -> None:
    """`*` is what answers say for it. Against contact it must not be passed over, and for contact it is no name."""
    for type_ in ("opted_out", "consent_withdrawn"):
        said = parse({**GOOD, "type": type_, "data": {"purpose": " * "}})
        assert getattr(event_of(said), "purpose", "*") is None
    for type_, data in (("basis_recorded", {"basis": "contract"}), ("emailed", {}), ("consent_given", {})):
        with pytest.raises(InvalidInteraction, match=r"^data\.purpose: name one"):
            event_of(parse({**GOOD, "type": type_, "data": data | {"purpose": "*"}}))


def test_any_purpose_of_what_has_none_is_a_field_too_many() -> None:
    with pytest.raises(InvalidInteraction, match=r"^data\.purpose: is not a field of this type"):
        event_of(parse({**GOOD, "type": "tagged", "data": {"tag": "x", "purpose": "*"}}))


def test_an_email_goes_by_email() -> None:
    """Else an opt-out from emails would not keep it back."""
    with pytest.raises(InvalidInteraction, match=r"^channel: "):
        event_of(parse({**GOOD, "type": "emailed", "channel": "linkedin", "data": {}}))
