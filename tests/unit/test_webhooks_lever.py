"""Lever: a signature that covers a token and a time, and payloads that hold ids only."""

import copy
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.webhooks.delivery import REPLAY_WINDOW, Delivery, Happening, ProvedByToken, Unreadable
from consumers.webhooks.lever import LEFT, PROVIDER, TAKEN_FOR
from infra.ingest import SEEN_FOR
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

SECRET = "a signature token of one webhook"  # noqa: S105 - nobody's
TOKEN = "be58f711f349c7780e4579cd7c63341ac6f881e4dccc3154"  # noqa: S105 - nobody's
IDS = {
    "opportunityId": "3410c8b9-5c31-4bab-b7e9-9f710206d647",
    "candidateId": "daeaa038-cddb-4d69-9b8c-74b6c23be3f3",
    "contactId": "05c248f9-ccb1-435f-bab5-0ec608aec263",
}
STAGES = {
    "toStageId": "7c2690d8-6308-4ed9-ae2a-cbfe7db26593",
    "fromStageId": "992f01a9-ee19-41d2-ae79-1040701b195c",
}
REASON = "63dd55b2-a99f-4e7b-985f-22c7bf80ab42"


def about(event: str, data: Any = None, **more: Any) -> dict[str, Any]:
    """An event in the documented shape, not signed yet."""
    triggered_at = int(NOW.timestamp() * 1000) + 72
    return {"triggeredAt": triggered_at, "event": event, "data": IDS if data is None else data, **more}


def sent(
    body: dict[str, Any], secret: str = SECRET, token: str = TOKEN, at: datetime = NOW, **headers: str
) -> Delivery:
    signature = hexadecimal(secret, f"{token}{body.get('triggeredAt')}".encode())
    return delivery({**body, "signature": signature, "token": token}, headers, at)


MOVED = about("candidateStageChange", IDS | STAGES)
ARCHIVED = about("candidateArchiveChange", IDS | {"toArchived": {"archivedAt": 1417588008760, "reason": REASON}})
ALL = [MOVED, ARCHIVED, about("applicationCreated"), about("candidateHired"), about("contactCreated")]


def test_a_delivery_is_proved_by_any_of_our_webhooks_tokens() -> None:
    for secrets in ([SECRET], ["of another webhook", SECRET], [SECRET, "of another webhook"]):
        PROVIDER.verify(sent(MOVED), secrets, NOW)


@pytest.mark.parametrize("secrets", [[], [""], ["of another webhook"]])
def test_nothing_is_taken_without_the_right_token(secrets: list[str]) -> None:
    assert refused(PROVIDER, sent(MOVED), secrets) == "signature"
    assert refused(PROVIDER, sent(MOVED, ""), secrets) == "signature"


@pytest.mark.parametrize(
    "change", [{"signature": None}, {"signature": "ö"}, {"token": ""}, {"token": 5}, {"token": "x"}]
)
def test_token_time_and_signature_belong_together(change: dict[str, Any]) -> None:
    body = orjson.loads(sent(MOVED).body)
    assert refused(PROVIDER, delivery(body | change), [SECRET]) == "signature"
    assert refused(PROVIDER, delivery(body | {"triggeredAt": body["triggeredAt"] + 1}), [SECRET]) == "signature"
    assert refused(PROVIDER, delivery(MOVED), [SECRET]) == "signature"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"triggeredAt": "now"}', b'{"triggeredAt": 1e30}'])
def test_what_says_no_time_is_malformed(body: bytes) -> None:
    assert refused(PROVIDER, delivery(body), [SECRET]) == "malformed"


def test_a_delivery_is_taken_for_eight_hours_and_its_token_known_for_longer() -> None:
    """Lever signs the time at which it happened; its last attempt may come hours later."""
    triggered = NOW + timedelta(milliseconds=72)
    PROVIDER.verify(sent(MOVED), [SECRET], triggered + TAKEN_FOR)
    PROVIDER.verify(sent(MOVED), [SECRET], triggered - REPLAY_WINDOW)
    assert refused(PROVIDER, sent(MOVED), [SECRET], triggered + TAKEN_FOR + timedelta(seconds=1)) == "stale"
    assert refused(PROVIDER, sent(MOVED), [SECRET], triggered - REPLAY_WINDOW - timedelta(seconds=1)) == "stale"
    assert SEEN_FOR > TAKEN_FOR + REPLAY_WINDOW


def test_a_token_goes_with_one_body_alone() -> None:
    """The signature does not cover the body; the door compares what each token came with."""
    assert isinstance(PROVIDER, ProvedByToken)
    token, happening = PROVIDER.proved(sent(MOVED))
    assert token == TOKEN
    assert PROVIDER.proved(sent(MOVED, "signed anew", at=OTHER_DAY)) == (token, happening)
    forged = [
        about("candidateHired", IDS | STAGES),
        about("candidateStageChange", IDS | STAGES | {"contactId": "someone else"}),
        MOVED | {"triggeredAt": MOVED["triggeredAt"] + 1},
    ]
    assert all(PROVIDER.proved(sent(body)) != (token, happening) for body in forged)
    named = [MOVED | {"id": "e1"}, forged[1] | {"id": "e1"}]
    assert PROVIDER.proved(sent(named[0]))[1] != PROVIDER.proved(sent(named[1]))[1]


@pytest.mark.parametrize(
    ("body", "type_", "data"),
    [
        (about("applicationCreated", IDS | {"applicationId": "6ffe4153"}), "applied", {}),
        (about("candidateHired"), "hired", {}),
        (about("contactCreated", {"contactId": IDS["contactId"]}), "sourced", {}),
        (MOVED, "stage_changed", {"stage": STAGES["toStageId"]}),
        (ARCHIVED, "stage_changed", {"stage": "archived", "reason": REASON}),
        (about("candidateArchiveChange", IDS | {"toArchived": None}), "stage_changed", {"stage": "unarchived"}),
    ],
)
def test_an_event_is_told_of_the_contact_when_it_was_triggered(
    body: dict[str, Any], type_: str, data: dict[str, Any]
) -> None:
    (record,) = records(PROVIDER.read(sent(body)))
    assert (record["type"], record["data"]) == (type_, data)
    assert record["candidate"] == {"ref": f"lever:{IDS['contactId']}"}
    assert record["occurred_at"] == "2026-03-02T12:00:00.072000+00:00"


def test_where_no_contact_is_named_the_opportunity_stands_for_the_person() -> None:
    for ids in ({"opportunityId": "o1"}, {"opportunityId": "o1", "contactId": None}):
        (record,) = records(PROVIDER.read(sent(about("candidateHired", ids))))
        assert record["candidate"] == {"ref": "lever:o1"}
    with pytest.raises(Unreadable):
        PROVIDER.read(sent(about("candidateHired", {"candidateId": "c1"})))


def test_an_archive_is_never_told_as_a_rejection() -> None:
    """Who was hired is archived as well, and the reason is an id."""
    assert {type_ for type_, _ in brief(PROVIDER.read(sent(ARCHIVED)))} == {"stage_changed"}


def test_levers_own_test_of_an_address_tells_of_nothing() -> None:
    assert PROVIDER.read(sent(about("candidateHired", {}))) == [Happening("candidateHired")]


@pytest.mark.parametrize("event", sorted(LEFT))
def test_what_is_no_event_of_ours_is_left_a_deletion_too(event: str) -> None:
    assert PROVIDER.read(sent(about(event))) == [Happening(event)]


@pytest.mark.parametrize("body", ALL, ids=lambda body: body["event"])
def test_a_delivery_tried_again_has_the_same_id(body: dict[str, Any]) -> None:
    first, again = PROVIDER.read(sent(body)), PROVIDER.read(sent(body, "rotated", "f" * 48, OTHER_DAY, x="y"))
    assert records(first) == records(again)
    named = body | {"id": "9d5e"}
    assert [record["id"] for record in records(PROVIDER.read(sent(named)))] == ["lever:event:9d5e"]


happenings = st.tuples(
    st.sampled_from(["candidateStageChange", "candidateArchiveChange", "candidateHired"]),
    st.integers(0, 3),
    st.sampled_from("ab"),
    st.sampled_from("st"),
)


@A_FEW
@given(st.lists(happenings, min_size=2, unique=True))
def test_different_happenings_never_share_an_id(different: list[tuple[str, int, str, str]]) -> None:
    ids = set()
    for event, later, opportunity, stage in different:
        data = {"opportunityId": opportunity, "toStageId": stage, "toArchived": {"reason": stage}}
        body = about(event, data) | {"triggeredAt": MOVED["triggeredAt"] + later}
        ids |= {record["id"] for record in records(PROVIDER.read(sent(body)))}
    assert len(ids) == len(different)


def test_what_cannot_be_read_is_unreadable_and_what_is_unknown_is_kept() -> None:
    check_what_cannot_be_read(PROVIDER, {}, "event")
    undocumented = PROVIDER.read(sent(about("candidateArchiveChange")))
    assert undocumented == [Happening("candidateArchiveChange", known=False)]
    for body in (about("candidateHired", []), about("candidateStageChange"), about("candidateHired") | {"event": 4}):
        with pytest.raises(Unreadable):
            PROVIDER.read(sent(body))


def test_an_awkward_value_anywhere_in_a_payload_makes_no_interaction_that_is_none() -> None:
    check_each_place(PROVIDER, {}, *ALL)


@A_FEW
@given(broken(*ALL, about("candidateHired", id="9d5e")))
def test_whatever_is_wrong_in_a_payload_no_interaction_is(body: dict[str, Any]) -> None:
    check_what_is_told(PROVIDER, sent(copy.deepcopy(body)))
