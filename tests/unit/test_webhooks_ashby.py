"""Ashby: applications and merges, told apart by `webhookActionId` and action."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.webhooks.ashby import LEFT, PROVIDER
from consumers.webhooks.delivery import Delivery, Happening, Unreadable
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

SECRET = "the secret token of one webhook"  # noqa: S105 - nobody's
ACTION_ID = "75395d87-4044-4dc4-bc29-0cec185e5f06"
APPLICATION: dict[str, Any] = {
    "id": "e9ed20fd-d45f-4aad-8a00-a19bfba0083e",
    "createdAt": "2026-02-12T20:29:56.964Z",
    "updatedAt": "2026-02-20T08:00:01.500Z",
    "status": "Active",
    "customFields": [],
    "candidate": {
        "id": "3ae2b801-19f6-41ef-ad28-214bd731948f",
        "name": "Mary Fairfax Somerville",
        "primaryEmailAddress": {"value": "mary.somerville@example.org", "type": "Work", "isPrimary": True},
        "primaryPhoneNumber": {"value": "330-281-8004", "type": "Work", "isPrimary": True},
    },
    "currentInterviewStage": {"id": "c41f0b3e", "title": "Interview", "type": "Active", "orderInInterviewPlan": 2},
    "source": {"id": "7a5b", "title": "Applied", "isArchived": False, "sourceType": {"id": "1", "title": "Inbound"}},
    "archiveReason": None,
    "archivedAt": None,
    "job": {"id": "4071538b-3cac-4fbf-ac76-f78ed250ffdd", "title": "First designer"},
    "hiringTeam": [],
}
ARCHIVED = {
    "status": "Archived",
    "archivedAt": "2026-02-20T08:00:00.000Z",
    "archiveReason": {"id": "f2", "text": "Too inexperienced", "reasonType": "RejectedByOrg", "isArchived": False},
    "currentInterviewStage": {"id": "a0", "title": "Archived", "type": "Archived"},
}


def about(action: str, id_: str = ACTION_ID, **application: Any) -> dict[str, Any]:
    """What happened to an application, in the documented shape."""
    told = {**copy.deepcopy(APPLICATION), **application}
    return {"webhookActionId": id_, "action": action, "data": {"application": told}}


MERGED: dict[str, Any] = {
    "webhookActionId": ACTION_ID,
    "action": "candidateMerge",
    "data": {"deletedCandidate": {"id": "d1"}, "mergedCandidate": {"id": "3ae2b801-19f6-41ef-ad28-214bd731948f"}},
}
SUBMITTED, MOVED, HIRED = (about(a) for a in ("applicationSubmit", "candidateStageChange", "candidateHire"))
REJECTED = about("candidateStageChange", **ARCHIVED)
ALL = [SUBMITTED, MOVED, HIRED, REJECTED, MERGED]


def sent(body: Any, secret: str = SECRET, **headers: str) -> Delivery:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return delivery(raw, {"ashby-signature": f"sha256={hexadecimal(secret, raw)}"} | headers)


def test_the_body_is_proved_by_any_of_our_secrets_however_late() -> None:
    PROVIDER.verify(sent(MOVED), ["another", SECRET], NOW)
    PROVIDER.verify(sent(MOVED), [SECRET, "another"], OTHER_DAY)


@pytest.mark.parametrize("secrets", [[], [""], ["another"]])
def test_nothing_is_taken_without_the_right_secret(secrets: list[str]) -> None:
    assert refused(PROVIDER, sent(MOVED), secrets) == "signature"
    assert refused(PROVIDER, sent(MOVED, ""), secrets) == "signature"


@pytest.mark.parametrize("change", ["", "sha256", "sha256=", "sha1={}", "{}", "sha256 {}", "sha256=ö", "sha256={}{}"])
def test_a_signature_in_another_form_proves_nothing(change: str) -> None:
    right = hexadecimal(SECRET, orjson.dumps(MOVED))
    wrong = sent(MOVED, **{"ashby-signature": change.replace("{}", right)})
    assert refused(PROVIDER, wrong, [SECRET]) == "signature"
    assert refused(PROVIDER, delivery(MOVED), [SECRET]) == "signature"


@A_FEW
@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    good = sent(MOVED)
    body = bytearray(good.body)
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert refused(PROVIDER, Delivery(good.headers, bytes(body), NOW), [SECRET]) == "signature"


def test_an_application_tells_of_the_candidate_and_that_they_applied() -> None:
    told = records(PROVIDER.read(sent(SUBMITTED)))
    assert [(record["type"], record["data"]) for record in told] == [
        ("sourced", {"first_name": "Mary Fairfax", "last_name": "Somerville"}),
        ("applied", {"job": "First designer", "stage": "Interview"}),
    ]
    for record in told:
        assert record["candidate"] == {
            "ref": "ashby:3ae2b801-19f6-41ef-ad28-214bd731948f",
            "email": "mary.somerville@example.org",
        }
        assert record["occurred_at"] == "2026-02-12T20:29:56.964000+00:00"


def test_a_lead_has_not_applied() -> None:
    told = brief(PROVIDER.read(sent(about("applicationSubmit", status="Lead", currentInterviewStage=None))))
    assert [type_ for type_, _ in told] == ["sourced"]


def test_a_second_application_brings_nobody_new() -> None:
    first = records(PROVIDER.read(sent(SUBMITTED)))
    second = records(PROVIDER.read(sent(about("applicationSubmit", "b1b1", id="another"))))
    assert first[0]["id"] == second[0]["id"]
    assert first[1]["id"] != second[1]["id"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("Hypatia", {"last_name": "Hypatia"}),
        ("  Mary \n Somerville ", {"first_name": "Mary", "last_name": "Somerville"}),
        ("", {}),
        (None, {}),
    ],
)
def test_a_whole_name_is_read_together_as_it_was_written(name: Any, data: dict[str, str]) -> None:
    body = about("applicationSubmit", candidate={"id": "c1", "name": name})
    assert brief(PROVIDER.read(sent(body)))[0] == ("sourced", data)


@pytest.mark.parametrize(
    ("body", "type_", "data", "time"),
    [
        (MOVED, "stage_changed", {"stage": "Interview"}, "2026-02-20T08:00:01.500000+00:00"),
        (HIRED, "hired", {"stage": "Interview"}, "2026-02-20T08:00:01.500000+00:00"),
        (REJECTED, "rejected", {"reason": "Too inexperienced"}, "2026-02-20T08:00:00+00:00"),
        (about("candidateStageChange", status="Archived"), "rejected", {}, "2026-02-20T08:00:01.500000+00:00"),
    ],
)
def test_what_becomes_of_an_application_is_told_with_its_time(
    body: dict[str, Any], type_: str, data: dict[str, Any], time: str
) -> None:
    (record,) = records(PROVIDER.read(sent(body)))
    assert (record["type"], record["occurred_at"]) == (type_, time)
    assert record["data"] == {"job": "First designer"} | data


def test_a_merge_is_a_merge_when_it_came() -> None:
    (record,) = records(PROVIDER.read(sent(MERGED)))
    assert (record["type"], record["occurred_at"]) == ("merged", NOW.isoformat())
    assert record["candidate"] == {"ref": "ashby:d1"}
    assert record["data"] == {"into": {"ref": "ashby:3ae2b801-19f6-41ef-ad28-214bd731948f"}}


def test_what_one_act_sets_off_is_told_apart_by_its_action() -> None:
    """A hire comes as three webhooks with one `webhookActionId`."""
    together = [HIRED, about("candidateStageChange"), about("applicationUpdate")]
    told = [record for body in together for record in records(PROVIDER.read(sent(body)))]
    assert [record["type"] for record in told] == ["hired", "stage_changed"]
    assert len({record["id"] for record in told}) == 2


@pytest.mark.parametrize("body", ALL, ids=lambda body: body["action"])
def test_a_delivery_tried_again_has_the_same_ids(body: dict[str, Any]) -> None:
    first = records(PROVIDER.read(sent(body)))
    again = records(PROVIDER.read(delivery(body, {"x-attempt": "2"}, OTHER_DAY)))
    assert [record["id"] for record in first] == [record["id"] for record in again]


happenings = st.tuples(
    st.text("ab-:", min_size=1, max_size=3), st.sampled_from(["candidateStageChange", "candidateHire"])
)


@A_FEW
@given(st.lists(happenings, min_size=2, unique=True))
def test_different_happenings_never_share_an_id(different: list[tuple[str, str]]) -> None:
    ids = []
    for id_, action in different:
        if ":" not in id_:
            ids += [record["id"] for record in records(PROVIDER.read(sent(about(action, id_))))]
        else:
            with pytest.raises(Unreadable):
                PROVIDER.read(sent(about(action, id_)))
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("action", sorted(LEFT))
def test_what_is_no_event_of_ours_is_left_a_deletion_too(action: str) -> None:
    assert PROVIDER.read(sent({"action": action, "data": {"webhookActionType": action}})) == [Happening(action)]


def test_a_stage_that_is_none_is_no_stage() -> None:
    assert PROVIDER.read(sent(about("candidateStageChange", currentInterviewStage=None))) == [
        Happening("candidateStageChange")
    ]


def test_what_cannot_be_read_is_unreadable_and_what_is_unknown_is_kept() -> None:
    check_what_cannot_be_read(PROVIDER, {}, "action")
    for body in (
        {key: value for key, value in MOVED.items() if key != "webhookActionId"},
        {**MOVED, "data": {}},
        {**MERGED, "data": {"deletedCandidate": {"id": "d1"}}},
        about("candidateHire", candidate=None),
        about("candidateHire", updatedAt="today"),
    ):
        with pytest.raises(Unreadable):
            PROVIDER.read(sent(body))


def test_an_awkward_value_anywhere_in_a_payload_makes_no_interaction_that_is_none() -> None:
    check_each_place(PROVIDER, {}, SUBMITTED, REJECTED, MERGED)


@A_FEW
@given(broken(*ALL))
def test_whatever_is_wrong_in_a_payload_no_interaction_is(body: dict[str, Any]) -> None:
    check_what_is_told(PROVIDER, delivery(body))
