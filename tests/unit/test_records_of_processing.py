"""The records of processing (Art. 30 GDPR) say what the code does."""

from pathlib import Path

import orjson

from api.records_of_processing import markdown, records
from domain.candidate import EVENTS
from domain.compliance_policy import default_policy
from domain.event import personal_fields

PAGE = Path(__file__).parents[2] / "docs" / "records-of-processing.md"


def test_the_page_is_up_to_date() -> None:
    """`python -m api.records_of_processing > docs/records-of-processing.md` makes it anew."""
    assert PAGE.read_text("utf-8") == markdown(records(default_policy()))


def test_every_event_is_in_it_with_every_field_and_whether_it_is_personal() -> None:
    found = records(default_policy())
    every = found["recorded_with_every_event"]
    by_type = {event["type"]: event for event in found["events"]}
    assert by_type.keys() == EVENTS.keys()
    for type_, event in EVENTS.items():
        assert set(by_type[type_]["personal"]) | set(every["personal"]) == personal_fields(event), type_
        fields = {name for part in ("personal", "other") for name in (*by_type[type_][part], *every[part])}
        assert fields == event.model_fields.keys(), type_
        assert by_type[type_]["meaning"].endswith("."), type_


def test_the_document_is_the_same_page_after_its_way_through_json() -> None:
    found = records(default_policy())
    assert markdown(orjson.loads(orjson.dumps(found))) == markdown(found)


def test_every_limit_is_there_with_its_source() -> None:
    found, policy = records(default_policy()), default_policy()
    stated = [(code, name) for code, own in policy.jurisdictions.items() for name, v in own if name != "name" and v]
    assert [(limit["jurisdiction"], limit["what"]) for limit in found["time_limits"]] == stated
    assert all(limit["source"] in markdown(found) for limit in found["time_limits"])
