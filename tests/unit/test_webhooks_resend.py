"""Resend: mail told of through Svix, one interaction a recipient."""

import base64
import hashlib
import hmac
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.webhooks.delivery import Delivery, Happening, Unreadable
from consumers.webhooks.resend import LEFT, PROVIDER, TYPES
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
    records,
    refused,
)

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
EMAIL_ID = "56761188-7520-42d8-8898-ff6fc54ce618"
BROADCAST = "8b146471-e88e-4322-86af-016cd36fd216"
BROWSER = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15"


def about(type_: str, **data: Any) -> dict[str, Any]:
    """An email's event in the documented shape."""
    return {
        "type": type_,
        "created_at": "2026-02-22T23:41:12.126Z",
        "data": {
            "broadcast_id": BROADCAST,
            "created_at": "2026-02-22T23:41:11.894719+00:00",
            "email_id": EMAIL_ID,
            "message_id": "<0101018f@example.com>",
            "from": "Acme Talent <talent@example.com>",
            "to": ["mary.somerville@example.org"],
            "subject": "An evening in Berlin",
            "template_id": "43f68331-0622-4e15-8202-246a0388854b",
            "tags": {"category": "invitation"},
            **data,
        },
    }


CLICK = {"ipAddress": "192.0.2.7", "link": "https://example.com/e", "timestamp": "2026-02-24T05:00:57.163Z"}
CLICKED = about("email.clicked", click=CLICK | {"userAgent": BROWSER})
BOUNCED = about("email.bounced", bounce={"message": "no such user", "type": "Permanent", "subType": "General"})
CONTACT: dict[str, Any] = {
    "type": "contact.updated",
    "created_at": "2026-02-11T23:47:56.678Z",
    "data": {
        "id": "e169aa45-1ecf-4183-9955-b1499d5701d3",
        "audience_id": "78261eea-8f8b-4381-83c6-79fa7120f1cf",
        "segment_ids": ["78261eea-8f8b-4381-83c6-79fa7120f1cf"],
        "created_at": "2026-02-10T15:11:04.110Z",
        "updated_at": "2026-02-11T23:47:55.678Z",
        "email": "mary.somerville@example.org",
        "first_name": "Mary",
        "last_name": "Somerville",
        "unsubscribed": True,
    },
}


def sent(body: Any, secret: str = SECRET, id_: str = "msg_1", at: datetime = NOW) -> Delivery:
    """A delivery as Svix makes it: the time is the attempt's, the id the message's."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    seconds = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{id_}.{seconds}.".encode() + raw, hashlib.sha256).digest()
    headers = {"svix-id": id_, "svix-timestamp": seconds, "svix-signature": f"v1,{base64.b64encode(digest).decode()}"}
    return delivery(raw, headers, at)


def test_the_scheme_is_that_of_standard_webhooks_under_other_names() -> None:
    good = sent(CLICKED)
    PROVIDER.verify(good, ["whsec_b3RoZXI=", SECRET], NOW)
    assert refused(PROVIDER, good, ["whsec_b3RoZXI="]) == "signature"
    assert refused(PROVIDER, good, [SECRET], OTHER_DAY) == "stale"
    assert refused(PROVIDER, Delivery(good.headers, good.body + b" ", NOW), [SECRET]) == "signature"
    renamed = {name.replace("svix", "webhook"): value for name, value in good.headers.items()}
    assert refused(PROVIDER, Delivery(renamed, good.body, NOW), [SECRET]) == "signature"


@pytest.mark.parametrize(
    ("body", "type_", "data"),
    [
        (about("email.delivered"), "delivered", {}),
        (about("email.opened"), "opened", {}),
        (about("email.complained"), "complained", {}),
        (CLICKED, "clicked", {"url": "https://example.com/e"}),
        (BOUNCED, "bounced", {"kind": "hard"}),
        (about("email.bounced", bounce={"type": "Transient"}), "bounced", {"kind": "soft"}),
        (about("email.bounced", bounce={"type": "Undetermined"}), "bounced", {"kind": "soft"}),
        (about("email.bounced", bounce={"message": "gone"}), "bounced", {"kind": "hard"}),
    ],
)
def test_an_event_of_a_message_is_an_interaction_by_the_message_s_id(
    body: dict[str, Any], type_: str, data: dict[str, Any]
) -> None:
    (record,) = records(PROVIDER.read(sent(body)))
    assert record["type"] == type_
    assert record["candidate"] == {"email": "mary.somerville@example.org"}
    assert record["channel"] == "email"
    assert record["data"] == {"message": EMAIL_ID, "campaign": BROADCAST} | data


def test_a_click_has_its_own_time_and_everything_else_the_event_s() -> None:
    (click,) = records(PROVIDER.read(sent(CLICKED)))
    assert click["occurred_at"] == "2026-02-24T05:00:57.163000+00:00"
    (bounce,) = records(PROVIDER.read(sent(BOUNCED)))
    assert bounce["occurred_at"] == "2026-02-22T23:41:12.126000+00:00"


@pytest.mark.parametrize(
    ("agent", "machine"),
    [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", True),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", True),
        ("python-requests/2.32", True),
        (BROWSER, None),
        ("Mozilla/5.0 (Linux; Android 9; CUBOT X20) AppleWebKit/537.36", None),
        ("", None),
        (7, None),
    ],
)
def test_only_what_calls_itself_a_machine_is_marked_as_one(agent: Any, machine: bool | None) -> None:
    (record,) = records(PROVIDER.read(sent(about("email.clicked", click=CLICK | {"userAgent": agent}))))
    assert record["data"].get("machine") is machine


def test_a_click_on_a_link_to_unsubscribe_is_a_click() -> None:
    """Scanners follow every link."""
    link = CLICK | {"link": "https://unsubscribe.resend.com/?token=x"}
    assert [type_ for type_, _ in brief(PROVIDER.read(sent(about("email.clicked", click=link))))] == ["clicked"]


def test_each_recipient_has_an_interaction_of_their_own() -> None:
    to = ["Mary <mary.somerville@example.org>", "emmy@example.org", "emmy@example.org", "no address", None]
    told = PROVIDER.read(sent(about("email.delivered", to=to)))
    assert [record["candidate"]["email"] for record in records(told)] == [
        "mary.somerville@example.org",
        "emmy@example.org",
    ]
    assert told.count(Happening("email.delivered", known=False)) == 1
    assert len({record["id"] for record in records(told)}) == 2
    assert "example.org" not in "".join(record["id"] for record in records(told))


def test_a_message_sent_again_tells_of_the_same_and_another_of_something_else() -> None:
    first, again = (records(PROVIDER.read(sent(CLICKED, at=at))) for at in (NOW, OTHER_DAY))
    assert first == again
    assert records(PROVIDER.read(sent(CLICKED, id_="msg_2")))[0]["id"] != first[0]["id"]


@A_FEW
@given(st.lists(st.tuples(st.text(min_size=1, max_size=80), st.sampled_from("abc")), min_size=2, unique=True))
def test_different_messages_or_people_never_share_an_id(happenings: list[tuple[str, str]]) -> None:
    ids = [
        record["id"]
        for message, who in happenings
        for record in records(
            PROVIDER.read(delivery(about("email.opened", to=[f"{who}@example.org"]), {"svix-id": message}))
        )
    ]
    assert len(set(ids)) == len(happenings)


def test_a_contact_that_is_unsubscribed_has_opted_out_of_email() -> None:
    (record,) = records(PROVIDER.read(sent(CONTACT)))
    assert (record["type"], record["channel"], record["data"]) == ("opted_out", "email", {})
    assert record["occurred_at"] == "2026-02-11T23:47:55.678000+00:00"
    for other in ({"unsubscribed": False}, {"unsubscribed": "true"}):
        assert PROVIDER.read(sent({**CONTACT, "data": CONTACT["data"] | other})) == [Happening("contact.updated")]
    nobody = {**CONTACT, "data": CONTACT["data"] | {"email": "nobody"}}
    assert PROVIDER.read(sent(nobody)) == [Happening("contact.updated", known=False)]


@pytest.mark.parametrize("kind", sorted(LEFT))
def test_what_is_no_event_of_ours_is_left(kind: str) -> None:
    assert kind not in TYPES
    assert PROVIDER.read(sent(about(kind))) == [Happening(kind)]


def test_what_cannot_be_read_is_unreadable_and_what_is_unknown_is_kept() -> None:
    check_what_cannot_be_read(PROVIDER, {"svix-id": "msg_1"}, "type")
    for wrong in ({"to": []}, {"to": "mary@example.org"}, {"to": None}):
        with pytest.raises(Unreadable):
            PROVIDER.read(sent(about("email.opened", **wrong)))
    for body in ({**CLICKED, "data": []}, {**BOUNCED, "created_at": None}, {**BOUNCED, "created_at": "2026-02-22"}):
        with pytest.raises(Unreadable):
            PROVIDER.read(sent(body))
    with pytest.raises(Unreadable):
        PROVIDER.read(delivery(CLICKED))


def test_an_awkward_value_anywhere_in_a_payload_makes_no_interaction_that_is_none() -> None:
    check_each_place(PROVIDER, {"svix-id": "msg_1"}, CLICKED, BOUNCED, CONTACT)


@A_FEW
@given(broken(CLICKED, BOUNCED, CONTACT))
def test_whatever_is_wrong_in_a_payload_no_interaction_is(body: dict[str, Any]) -> None:
    check_what_is_told(PROVIDER, delivery(body, {"svix-id": "msg_1"}))
