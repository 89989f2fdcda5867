"""Greenhouse: applications, people and their tags, with ids made of the signed body alone."""

import copy
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.webhooks.delivery import Delivery, Happening, Unreadable
from consumers.webhooks.greenhouse import LEFT, PROVIDER, TIMES
from tests.unit.promises import (
    A_FEW,
    NOW,
    OTHER_DAY,
    brief,
    broken,
    check_each_place,
    check_what_cannot_be_read,
    check_what_is_told,
    delivery,
    hexadecimal,
    records,
    refused,
)

SECRET = "the key that was entered in Greenhouse"  # noqa: S105 - nobody's
CANDIDATE: dict[str, Any] = {
    "id": 60304594,
    "first_name": "Mary",
    "last_name": "Somerville",
    "title": "Astronomer",
    "company": "Burntisland Observatory",
    "created_at": "2026-01-27T14:44:42Z",
    "external_id": None,
    "photo_url": None,
    "url": "https://app.greenhouse.io/people/60304594",
    "is_private": False,
    "can_email": True,
    "phone_numbers": [{"value": "330-281-8004", "type": "mobile"}],
    "email_addresses": [
        {"value": "mary somerville@example.org", "type": "other"},
        {"value": "mary.somerville@example.org", "type": "work"},
    ],
    "addresses": [{"value": "1 Sailors' Walk\nBurntisland", "type": "home"}],
    "educations": [],
    "employments": [],
    "recruiter": {"id": 92121, "email": "grace@example.com", "name": "Grace Hopper", "employee_id": "1"},
    "attachments": [{"filename": "cv.pdf", "url": "https://example.com/cv.pdf?signed=1", "type": "resume"}],
    "tags": ["Python", "Comp Sci"],
    "custom_fields": {},
}
APPLICATION: dict[str, Any] = {
    "id": 71980812,
    "rejected_at": None,
    "prospect": False,
    "status": "active",
    "applied_at": "2026-01-27T14:44:43Z",
    "last_activity_at": "2026-02-09T16:38:36Z",
    "source": {"id": 16, "name": "LinkedIn (Prospecting)"},
    "credited_to": None,
    "rejection_reason": None,
    "rejection_details": None,
    "current_stage": {"id": 2944102, "name": "Phone screen", "interviews": []},
    "candidate": CANDIDATE,
    "jobs": [{"id": 274075, "name": "Data scientist", "requisition_id": "ABC", "status": "open"}],
}
REJECTED = {
    "rejected_at": "2026-02-11T15:50:41Z",
    "status": "rejected",
    "rejection_reason": {"id": 14, "name": "Too junior", "type": {"id": 3, "name": "Wrong skill set"}},
}
OFFER = {"id": 506409, "version": 2, "created_at": "2026-02-20T22:49:14Z", "resolved_at": "2026-02-21T09:00:00Z"}
PERSON: dict[str, Any] = {
    "id": 37031511,
    "first_name": "Mary",
    "last_name": "Fairfax",
    "company": None,
    "title": None,
    "created_at": "2025-03-22T00:00:00Z",
    "headline": None,
    "is_private": False,
    "recruiter_user_id": 123,
    "coordinator_user_id": 456,
    "can_email": True,
}


def about(action: str, **application: Any) -> dict[str, Any]:
    """What happened to an application, in the documented shape."""
    return {"action": action, "payload": {"application": {**copy.deepcopy(APPLICATION), **application}}}


MERGED: dict[str, Any] = {"action": "merge_candidate", "payload": {"person": {**PERSON, "new_candidate_id": 60304594}}}
UPDATED: dict[str, Any] = {"action": "update_candidate", "payload": {"candidate": CANDIDATE}}
ALL = [about(action) for action in TIMES] + [
    about("reject_candidate", **REJECTED),
    about("hire_candidate", offer=OFFER),
    about("candidate_stage_change", candidate=CANDIDATE | {"can_email": False}),
    MERGED,
    {"action": "merge_candidate", "payload": {"person": {**MERGED["payload"]["person"], "can_email": False}}},
    UPDATED,
    {"action": "update_candidate", "payload": {"candidate": CANDIDATE | {"can_email": False}}},
]


def sent(body: Any, secret: str = SECRET, **headers: str) -> Delivery:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return delivery(raw, {"signature": f"sha256 {hexadecimal(secret, raw)}", **headers})


def test_the_body_is_proved_by_any_of_our_secrets_however_late() -> None:
    PROVIDER.verify(sent(MERGED), ["another", SECRET], NOW)
    PROVIDER.verify(sent(MERGED), [SECRET, "another"], OTHER_DAY)
    escaped = b'{"action":"ping","payload":{"text":"\\u003cp\\u003e"}}'
    PROVIDER.verify(sent(escaped), [SECRET], NOW)


@pytest.mark.parametrize("secrets", [[], [""], ["another"], [SECRET + " "]])
def test_nothing_is_taken_without_the_right_secret(secrets: list[str]) -> None:
    assert refused(PROVIDER, sent(MERGED), secrets) == "signature"
    assert refused(PROVIDER, sent(MERGED, ""), secrets) == "signature"


@pytest.mark.parametrize("change", ["", "sha256", "sha256 ", "sha1 {}", "{}", "sha256={}", "sha256 ö", "sha256 {}{}"])
def test_a_signature_in_another_form_proves_nothing(change: str) -> None:
    right = hexadecimal(SECRET, orjson.dumps(MERGED))
    assert refused(PROVIDER, sent(MERGED, signature=change.replace("{}", right)), [SECRET]) == "signature"
    assert refused(PROVIDER, delivery(MERGED), [SECRET]) == "signature"


@A_FEW
@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    good = sent(MERGED)
    body = bytearray(good.body)
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert refused(PROVIDER, Delivery(good.headers, bytes(body), NOW), [SECRET]) == "signature"


def test_a_new_application_tells_of_the_candidate_their_tags_and_that_they_applied() -> None:
    told = records(PROVIDER.read(sent(about("new_candidate_application"))))
    assert [(record["type"], record["data"], record["occurred_at"]) for record in told] == [
        (
            "sourced",
            {
                "first_name": "Mary",
                "last_name": "Somerville",
                "employer": "Burntisland Observatory",
                "headline": "Astronomer",
            },
            "2026-01-27T14:44:42+00:00",
        ),
        ("tagged", {"tag": "Python"}, "2026-01-27T14:44:43+00:00"),
        ("tagged", {"tag": "Comp Sci"}, "2026-01-27T14:44:43+00:00"),
        ("applied", {"job": "Data scientist", "stage": "Phone screen"}, "2026-01-27T14:44:43+00:00"),
    ]
    for record in told:
        assert record["candidate"] == {"ref": "greenhouse:60304594", "email": "mary.somerville@example.org"}
        assert record["source"] == "greenhouse"


@pytest.mark.parametrize("action", ["new_prospect_application", "new_candidate_application"])
def test_a_prospect_has_not_applied(action: str) -> None:
    told = brief(PROVIDER.read(sent(about(action, prospect=True, current_stage=None, jobs=[]))))
    assert [type_ for type_, _ in told] == ["sourced", "tagged", "tagged"]


def test_a_second_application_brings_nobody_new() -> None:
    first, second = (records(PROVIDER.read(sent(about("new_candidate_application", id=id_)))) for id_ in (1, 2))
    assert [record["id"] for record in first[:3]] == [record["id"] for record in second[:3]]
    assert first[3]["id"] != second[3]["id"]
    undated = about(
        "new_candidate_application", applied_at="2026-02-01T00:00:00Z", candidate=CANDIDATE | {"created_at": None}
    )
    assert records(PROVIDER.read(sent(undated)))[0]["id"] == first[0]["id"]


@pytest.mark.parametrize(
    ("body", "type_", "data", "time"),
    [
        (about("candidate_stage_change"), "stage_changed", {}, "2026-02-09T16:38:36+00:00"),
        (about("unreject_candidate"), "stage_changed", {}, "2026-02-09T16:38:36+00:00"),
        (about("unhire_candidate"), "stage_changed", {}, "2026-02-09T16:38:36+00:00"),
        (about("reject_candidate", **REJECTED), "rejected", {"reason": "Too junior"}, "2026-02-11T15:50:41+00:00"),
        (about("hire_candidate", offer=OFFER), "hired", {}, "2026-02-21T09:00:00+00:00"),
    ],
)
def test_what_becomes_of_an_application_is_told_with_its_time(
    body: dict[str, Any], type_: str, data: dict[str, Any], time: str
) -> None:
    (record,) = records(PROVIDER.read(sent(body)))
    assert (record["type"], record["occurred_at"]) == (type_, time)
    assert record["data"] == {"job": "Data scientist", "stage": "Phone screen"} | data


def test_a_hire_in_the_older_shape_names_the_same_job() -> None:
    hired = about("hire_candidate", jobs=None, job={"id": 274075, "name": "Data scientist"}, offer=None)
    (record,) = records(PROVIDER.read(sent(hired)))
    assert record["data"]["job"] == "Data scientist"
    assert record["occurred_at"] == NOW.isoformat()


def test_a_job_whose_name_may_not_stand_in_the_clear_goes_by_its_number() -> None:
    odd = about("candidate_stage_change", jobs=[{"id": 7, "name": "Ask ada@example.com"}], current_stage={"id": 8})
    assert brief(PROVIDER.read(sent(odd))) == [("stage_changed", {"job": "7", "stage": "8"})]


def test_somebody_without_an_address_is_meant_by_their_number() -> None:
    for emails in ([], None, [{"value": "nobody"}], [None], "x"):
        body = about("candidate_stage_change", candidate=CANDIDATE | {"email_addresses": emails})
        (record,) = records(PROVIDER.read(sent(body)))
        assert record["candidate"] == {"ref": "greenhouse:60304594"}


@pytest.mark.parametrize("action", sorted(TIMES))
def test_whoever_may_not_be_emailed_has_opted_out(action: str) -> None:
    body = about(action, candidate=CANDIDATE | {"can_email": False})
    out = [record for record in records(PROVIDER.read(sent(body))) if record["type"] == "opted_out"]
    assert [(record["channel"], record["data"]) for record in out] == [("email", {"method": "ats"})]
    assert out[0]["occurred_at"] == NOW.isoformat(), "how things stand, and not when an application was made"
    for may in (True, None, "false", 0):
        told = brief(PROVIDER.read(sent(about(action, candidate=CANDIDATE | {"can_email": may}))))
        assert "opted_out" not in [type_ for type_, _ in told]


def test_an_opt_out_is_told_for_each_address() -> None:
    emails = [{"value": "mary@example.org"}, {"value": "no address"}, {"value": "m.s@example.com"}]
    few = CANDIDATE | {"can_email": False, "email_addresses": emails, "tags": []}
    out = records(PROVIDER.read(sent({"action": "update_candidate", "payload": {"candidate": few}})))
    assert [record["candidate"].get("email") for record in out] == ["mary@example.org", "m.s@example.com"]
    assert {record["candidate"]["ref"] for record in out} == {"greenhouse:60304594"}
    assert len({record["id"] for record in out}) == 2


@pytest.mark.parametrize("change", [{"rejected_at": "2026-11-01"}, {"id": None}])
def test_an_opt_out_counts_whatever_else_cannot_be_read(change: dict[str, Any]) -> None:
    body = about("reject_candidate", **(REJECTED | change), candidate=CANDIDATE | {"can_email": False})
    opted_out, rest = PROVIDER.read(sent(body))
    assert opted_out.record is not None
    assert opted_out.record["type"] == "opted_out"
    assert rest.record is None
    assert rest.unreadable is not None
    nobody = {**CANDIDATE, "can_email": False, "id": "a b"}
    (told,) = records(PROVIDER.read(sent({"action": "update_candidate", "payload": {"candidate": nobody}})))
    assert told["candidate"] == {"email": "mary.somerville@example.org"}, "by the address, without an id"


def test_an_opt_out_was_said_when_it_came() -> None:
    body = {"action": "update_candidate", "payload": {"candidate": CANDIDATE | {"can_email": False, "tags": []}}}
    (again,) = records(PROVIDER.read(replace(sent(body), received_at=OTHER_DAY)))
    assert again["occurred_at"] == OTHER_DAY.isoformat()


def test_an_opt_out_in_a_deletion_counts_and_the_deletion_is_left() -> None:
    body = {"action": "delete_candidate", "payload": {"person": CANDIDATE | {"can_email": False}}}
    assert [type_ for type_, _ in brief(PROVIDER.read(sent(body)))] == ["opted_out"]
    for person in (CANDIDATE | {"can_email": True}, None, []):
        (left,) = PROVIDER.read(sent({"action": "delete_candidate", "payload": {"person": person}}))
        assert (left.record, left.known) == (None, True)


def test_a_merge_is_a_merge_when_it_came() -> None:
    (record,) = records(PROVIDER.read(sent(MERGED)))
    assert record["type"] == "merged"
    assert record["candidate"] == {"ref": "greenhouse:37031511"}
    assert record["data"] == {"into": {"ref": "greenhouse:60304594"}}
    assert record["occurred_at"] == NOW.isoformat()


def test_the_opt_out_of_a_duplicate_comes_before_its_merge() -> None:
    body = copy.deepcopy(MERGED)
    body["payload"]["person"]["can_email"] = False
    assert [type_ for type_, _ in brief(PROVIDER.read(sent(body)))] == ["opted_out", "merged"]


def test_deleting_is_never_a_request_to_erase() -> None:
    """It may be a merge, of which only this hook was set up."""
    person = {**PERSON, "deleted_application_ids": [46196263]}
    assert PROVIDER.read(sent({"action": "delete_candidate", "payload": {"person": person}})) == [
        Happening("delete_candidate")
    ]


def test_anonymising_is_shown_to_a_human_and_nothing_else() -> None:
    body = {
        "action": "candidate_anonymized",
        "payload": {"candidate_id": 37031511, "anonymized_fields": ["full_name", "current_title"]},
    }
    assert PROVIDER.read(sent(body)) == [Happening("candidate_anonymized", known=False)]


def test_an_update_tells_of_tags_and_of_an_opt_out() -> None:
    body = {"action": "update_candidate", "payload": {"candidate": CANDIDATE | {"can_email": False}}}
    told = brief(PROVIDER.read(sent(body)))
    assert told == [("tagged", {"tag": "Python"}), ("tagged", {"tag": "Comp Sci"}), ("opted_out", {"method": "ats"})]
    plain = {"action": "update_candidate", "payload": {"candidate": {"id": 15696179, "tags": []}}}
    assert PROVIDER.read(sent(plain)) == [Happening("update_candidate")]


def test_a_tag_told_of_twice_is_one() -> None:
    created = records(PROVIDER.read(sent(about("new_candidate_application"))))
    updated = records(PROVIDER.read(sent(UPDATED)))
    assert {record["id"] for record in updated} <= {record["id"] for record in created}


@pytest.mark.parametrize("body", ALL, ids=lambda body: body["action"])
def test_a_delivery_tried_again_hours_later_has_the_same_ids(body: dict[str, Any]) -> None:
    """Another day, another `Greenhouse-Event-ID`, the links of attachments signed anew."""
    first = records(PROVIDER.read(sent(body, **{"greenhouse-event-id": "3ce5180d"})))
    again = copy.deepcopy(body)
    for candidate in (again["payload"].get("candidate"), again["payload"].get("application", {}).get("candidate")):
        if candidate is not None:
            candidate["attachments"][0]["url"] += "9"
    late = records(PROVIDER.read(delivery(again, {"greenhouse-event-id": "77aa01"}, OTHER_DAY)))
    assert [record["id"] for record in late] == [record["id"] for record in first]


happenings = st.tuples(
    st.sampled_from(["candidate_stage_change", "unreject_candidate", "reject_candidate", "hire_candidate"]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["2026-02-09T16:38:36Z", "2026-02-09T16:38:37Z"]),
)


@A_FEW
@given(st.lists(happenings, min_size=2, unique=True))
def test_different_happenings_never_share_an_id(different: list[tuple[str, int, int, str]]) -> None:
    ids = set()
    for action, application, stage, time in different:
        when = {"last_activity_at": time, "rejected_at": time, "offer": OFFER | {"resolved_at": time}}
        body = about(action, id=application, current_stage={"id": stage, "name": "Interview"}, **when)
        (record,) = records(PROVIDER.read(sent(body)))
        ids.add(record["id"])
    assert len(ids) == len(different)


@pytest.mark.parametrize("action", sorted(LEFT))
def test_what_is_no_event_of_ours_is_left(action: str) -> None:
    assert PROVIDER.read(sent({"action": action, "payload": {"id": 1}})) == [Happening(action)]


def test_a_stage_that_is_none_is_no_stage() -> None:
    assert PROVIDER.read(sent(about("candidate_stage_change", prospect=True, current_stage=None))) == [
        Happening("candidate_stage_change")
    ]
    assert PROVIDER.read(sent(about("application_updated"))) == [Happening("application_updated")]


def test_what_cannot_be_read_is_unreadable_and_what_is_unknown_is_kept() -> None:
    check_what_cannot_be_read(PROVIDER, {}, "action")
    for body in (
        {"action": "merge_candidate", "payload": {"person": PERSON}},
        {"action": "reject_candidate", "payload": {}},
        about("reject_candidate", id=None),
        about("reject_candidate", rejected_at="11 February"),
        about("candidate_stage_change", candidate={"id": "a b"}),
    ):
        with pytest.raises(Unreadable):
            PROVIDER.read(sent(body))


def test_an_awkward_value_anywhere_in_a_payload_makes_no_interaction_that_is_none() -> None:
    few = {name: CANDIDATE[name] for name in ("id", "email_addresses")} | {"can_email": False}
    ended = {"offer": OFFER, "source": None, "candidate": few}
    rejected, hired = about("reject_candidate", **REJECTED, **ended), about("hire_candidate", **ended)
    moved = about("candidate_stage_change", **ended)
    check_each_place(PROVIDER, {}, about("new_candidate_application"), rejected, hired, moved, MERGED)


@A_FEW
@given(broken(*ALL))
def test_whatever_is_wrong_in_a_payload_no_interaction_is(body: dict[str, Any]) -> None:
    check_what_is_told(PROVIDER, delivery(body))
