"""SendGrid, Postmark, Mailgun and Amazon SES: what is theirs is taken, and says what their documentation says."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from consumers.webhooks import mailgun, postmark, sendgrid, ses
from consumers.webhooks.delivery import Delivery, Happening, ProvedByToken, Provider, Refused, Unreadable
from consumers.webhooks.registry import PROVIDERS
from domain.interaction import event_of, parse
from infra.sns_certificates import CertificateAway, SnsCertificates
from tests.deliveries import (
    ADA,
    CERTIFICATE,
    MAILGUN_SECRET,
    NOW,
    POSTMARK_SECRET,
    TOPIC,
    later,
    mailgun_event,
    of_mailgun,
    of_postmark,
    of_sendgrid,
    of_ses,
    postmark_event,
    sendgrid_event,
    sendgrid_secret,
    ses_event,
    sns_certificate,
)

SES = ses.Ses(lambda address: sns_certificate() if address == CERTIFICATE else b"")
GOOD: dict[str, tuple[Provider, Delivery, str]] = {
    "sendgrid": (sendgrid.PROVIDER, of_sendgrid([sendgrid_event()]), sendgrid_secret()),
    "postmark": (postmark.PROVIDER, of_postmark(postmark_event()), POSTMARK_SECRET),
    "mailgun": (mailgun.PROVIDER, of_mailgun(mailgun_event()), MAILGUN_SECRET),
    "ses": (SES, of_ses(ses_event()), TOPIC),
}
every = pytest.mark.parametrize("name", GOOD)


def refusal(provider: Provider, delivery: Delivery, *secrets: str, now: datetime = NOW) -> str | None:
    try:
        provider.verify(delivery, secrets, now)
    except Refused as error:
        return error.code
    return None


def record(happening: Happening) -> dict[str, Any]:
    assert happening.record is not None
    event_of(parse(happening.record))  # it is one that the ledger would take
    return happening.record


def only(provider: Provider, delivery: Delivery) -> Happening:
    (happening,) = provider.read(delivery)
    return happening


def types(provider: Provider, delivery: Delivery) -> list[str | None]:
    return [None if h.record is None else record(h)["type"] for h in provider.read(delivery)]


# ── of every one ──


def test_every_provider_is_known_by_its_name() -> None:
    assert {"sendgrid", "postmark", "mailgun", "ses"} <= PROVIDERS.keys()
    assert all(provider.name == name for name, provider in PROVIDERS.items())


@every
def test_what_is_theirs_is_taken(name: str) -> None:
    provider, delivery, secret = GOOD[name]
    assert refusal(provider, delivery, secret) is None


@every
def test_the_secret_before_counts_while_it_is_replaced(name: str) -> None:
    provider, delivery, secret = GOOD[name]
    newest = TOPIC + "-new" if name == "ses" else "another-secret-of-theirs"
    assert refusal(provider, delivery, newest, secret) is None


@every
def test_nothing_is_taken_by_another_secret_or_by_none(name: str) -> None:
    provider, delivery, _ = GOOD[name]
    other = sendgrid_secret(ec.generate_private_key(ec.SECP256R1())) if name == "sendgrid" else "another-secret-here"
    assert refusal(provider, delivery, other) == "signature"
    assert refusal(provider, delivery) == "signature"


@every
def test_without_what_proves_it_nothing_is_taken(name: str) -> None:
    provider, _, secret = GOOD[name]
    for body in (b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"signature": 3}', b"{" * 100_000, b"9" * 1_000_000):
        assert refusal(provider, Delivery({}, body, NOW), secret) in ("signature", "malformed")


@every
@given(data=st.data())
def test_reading_ends_in_happenings_or_says_that_it_cannot(name: str, data: st.DataObject) -> None:
    """Whatever JSON of the right outline comes: a fault in reading would be a fault of ours."""
    provider = GOOD[name][0]
    value = data.draw(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=8,
        )
    )
    event: dict[str, Any] = {
        "sendgrid": sendgrid_event("click"),
        "postmark": postmark_event("Click"),
        "mailgun": mailgun_event("clicked"),
        "ses": ses_event("Click"),
    }[name]
    field = data.draw(st.sampled_from(sorted(event)))
    broken = json.dumps(event | {field: value})
    body = {
        "sendgrid": f"[{broken}]",
        "postmark": broken,
        "mailgun": json.dumps({"event-data": json.loads(broken)}),
        "ses": json.dumps({"Type": "Notification", "Message": broken}),
    }[name]
    try:
        for happening in provider.read(Delivery({}, body.encode(), NOW)):
            if happening.record is not None:
                record(happening)
    except Unreadable:
        pass


@every
def test_a_delivery_read_again_hours_later_gives_the_same(name: str) -> None:
    provider, delivery, _ = GOOD[name]
    assert provider.read(delivery) == provider.read(later(delivery, timedelta(hours=15)))


@every
def test_its_source_and_channel_are_named_and_the_person_is_found_by_address(name: str) -> None:
    provider, delivery, _ = GOOD[name]
    (happening,) = provider.read(delivery)
    found = record(happening)
    assert found["source"] == name
    assert found["channel"] == "email"
    assert found["candidate"] == {"email": ADA}
    assert found["id"].startswith(f"{name}:")
    assert "2026-03-01T09:30:00" in found["occurred_at"]


# ── SendGrid ──


def test_sendgrid_signs_timestamp_and_body() -> None:
    good = of_sendgrid([sendgrid_event()])
    assert refusal(sendgrid.PROVIDER, replace(good, body=good.body + b" "), sendgrid_secret()) == "signature"
    other = good.headers | {sendgrid.TIMESTAMP: str(int(NOW.timestamp()) + 1)}
    assert refusal(sendgrid.PROVIDER, replace(good, headers=other), sendgrid_secret()) == "signature"
    for wrong in ("", "AAAA", "no base64 ☃", b64encode(b"x" * 70).decode()):
        headers = good.headers | {sendgrid.SIGNATURE: wrong}
        assert refusal(sendgrid.PROVIDER, replace(good, headers=headers), sendgrid_secret()) == "signature"


def test_sendgrid_is_taken_for_as_long_as_it_tries_again_and_no_longer() -> None:
    good = of_sendgrid([sendgrid_event()])
    assert refusal(sendgrid.PROVIDER, good, sendgrid_secret(), now=NOW + timedelta(hours=24)) is None
    assert refusal(sendgrid.PROVIDER, good, sendgrid_secret(), now=NOW + timedelta(hours=26)) == "stale"
    assert refusal(sendgrid.PROVIDER, good, sendgrid_secret(), now=NOW - timedelta(minutes=6)) == "stale"


def test_sendgrids_key_may_come_in_a_pem_frame_and_another_curve_is_none() -> None:
    framed = f"-----BEGIN PUBLIC KEY-----\n{sendgrid_secret()}\n-----END PUBLIC KEY-----\n"
    assert refusal(sendgrid.PROVIDER, of_sendgrid([]), framed) is None
    other = sendgrid_secret(ec.generate_private_key(ec.SECP384R1()))
    assert refusal(sendgrid.PROVIDER, of_sendgrid([]), other) == "signature"


def test_sendgrids_events_are_what_they_say() -> None:
    events = [
        sendgrid_event("delivered", "1"),
        sendgrid_event("open", "2", sg_machine_open=True),
        sendgrid_event("open", "3", sg_machine_open=False),
        sendgrid_event("click", "4", url="https://example.org/jobs"),
        sendgrid_event("bounce", "5", type="bounce", reason="500 unknown recipient"),
        sendgrid_event("bounce", "6", type="blocked"),
        sendgrid_event("spamreport", "7"),
        sendgrid_event("unsubscribe", "8"),
        sendgrid_event("group_unsubscribe", "9", asm_group_id=10),
    ]
    records = [record(h) for h in sendgrid.PROVIDER.read(of_sendgrid(events))]
    assert [r["type"] for r in records] == [
        *("delivered", "opened", "opened", "clicked", "bounced", "bounced", "complained", "opted_out", "opted_out")
    ]
    assert [r["data"].get("machine") for r in records[:4]] == [None, True, False, None]
    assert [r["data"].get("kind") for r in records[4:6]] == ["hard", "soft"]
    assert records[3]["data"]["url"] == "https://example.org/jobs"
    assert records[0]["data"] == {"message": "14c5d75ce93", "campaign": "spring outreach"}
    assert records[7]["data"] == {"method": "link"}
    assert len({r["id"] for r in records}) == len(records)


def test_what_sendgrid_tells_of_its_own_work_is_left_and_what_nobody_knows_is_kept() -> None:
    left = ["processed", "deferred", "dropped", "group_resubscribe", "account_status_change"]
    happenings = sendgrid.PROVIDER.read(of_sendgrid([sendgrid_event(e, e) for e in [*left, "teleported"]]))
    assert [(h.record, h.known) for h in happenings] == [(None, True)] * 5 + [(None, False)]
    assert happenings[-1].kind == "teleported"


def test_a_broken_event_of_an_array_does_not_take_the_others_with_it() -> None:
    events = [
        sendgrid_event(id_="1"),
        3,
        sendgrid_event(email="nobody"),
        sendgrid_event(timestamp="x"),
        sendgrid_event(id_="2"),
    ]
    assert types(sendgrid.PROVIDER, of_sendgrid(events)) == ["delivered", None, None, None, "delivered"]


def test_an_event_of_sendgrid_without_id_gets_one_of_what_tells_it_apart() -> None:
    def id_of(**more: Any) -> str:
        event = sendgrid_event("click", url="https://example.org/a") | more
        del event["sg_event_id"]
        return str(record(only(sendgrid.PROVIDER, of_sendgrid([event])))["id"])

    assert id_of() == id_of(ip="192.0.2.7")
    assert len({id_of(), id_of(url="https://example.org/b"), id_of(email="grace@example.com"), id_of(timestamp=1)}) == 4


def test_a_category_that_holds_an_address_is_no_campaign() -> None:
    found = record(only(sendgrid.PROVIDER, of_sendgrid([sendgrid_event(category="mail to ada@example.com")])))
    assert "campaign" not in found["data"]


# ── Postmark ──


def test_postmarks_secret_may_stand_in_the_address() -> None:
    assert (
        refusal(
            postmark.PROVIDER,
            of_postmark(postmark_event(), "a-secret-path-of-ours", in_path=True),
            "a-secret-path-of-ours",
        )
        is None
    )
    assert (
        refusal(postmark.PROVIDER, of_postmark(postmark_event(), "a-wrong-path", in_path=True), "a-secret-path-of-ours")
        == "signature"
    )
    assert (
        refusal(postmark.PROVIDER, Delivery({"authorization": "Basic ☃"}, b"{}", NOW), POSTMARK_SECRET) == "signature"
    )
    assert (
        refusal(
            postmark.PROVIDER, Delivery({"authorization": f"Bearer {POSTMARK_SECRET}"}, b"{}", NOW), POSTMARK_SECRET
        )
        == "signature"
    )


@pytest.mark.parametrize(
    ("event", "type_", "data"),
    [
        (postmark_event("Delivery"), "delivered", {}),
        (postmark_event("Open"), "opened", {}),
        (postmark_event("Click"), "clicked", {"url": "https://example.org/jobs"}),
        (postmark_event("Bounce"), "bounced", {"kind": "hard"}),
        (postmark_event("Bounce", Type="SoftBounce"), "bounced", {"kind": "soft"}),
        (postmark_event("Bounce", Type="SpamNotification"), "complained", {}),
        (postmark_event("SpamComplaint"), "complained", {}),
        (postmark_event("Bounce", Type="Unsubscribe"), "opted_out", {"method": "reply"}),
        (postmark_event("SubscriptionChange"), "opted_out", {"method": "link"}),
        (postmark_event("SubscriptionChange", SuppressionReason="SpamComplaint"), "opted_out", {"method": "complaint"}),
    ],
)
def test_postmarks_records_are_what_they_say(event: dict[str, Any], type_: str, data: dict[str, Any]) -> None:
    found = record(only(postmark.PROVIDER, of_postmark(event)))
    assert found["type"] == type_
    assert data.items() <= found["data"].items()
    assert found["data"].get("message") == (None if type_ == "opted_out" else event["MessageID"])


@pytest.mark.parametrize(
    ("event", "known"),
    [
        (postmark_event("Bounce", Type="AutoResponder"), True),
        (postmark_event("Bounce", Type="SomethingNew"), False),
        (postmark_event("SubscriptionChange", Origin="Customer"), True),
        (postmark_event("SubscriptionChange", SuppressSending=False), True),
        (postmark_event("SubscriptionChange", SuppressionReason="HardBounce"), True),
        (postmark_event("Teleported"), False),
    ],
)
def test_what_postmark_tells_of_nobodys_act_is_no_interaction(event: dict[str, Any], known: bool) -> None:
    happening = only(postmark.PROVIDER, of_postmark(event))
    assert (happening.record, happening.known) == (None, known)


@given(
    a=st.fixed_dictionaries(
        {"Recipient": st.sampled_from([ADA, "b@example.com"]), "OriginalLink": st.text(max_size=3)}
    ),
    b=st.fixed_dictionaries(
        {"Recipient": st.sampled_from([ADA, "b@example.com"]), "OriginalLink": st.text(max_size=3)}
    ),
)
def test_postmarks_ids_are_the_same_for_the_same_click_alone(a: dict[str, Any], b: dict[str, Any]) -> None:
    one, two = (record(only(postmark.PROVIDER, of_postmark(postmark_event("Click", **fields)))) for fields in (a, b))
    same = one["candidate"] == two["candidate"] and one["data"].get("url") == two["data"].get("url")
    assert (one["id"] == two["id"]) is same


# ── Mailgun ──


def test_mailgun_is_taken_for_as_long_as_it_tries_again_and_no_longer() -> None:
    good = of_mailgun(mailgun_event())
    assert refusal(mailgun.PROVIDER, good, MAILGUN_SECRET, now=NOW + timedelta(hours=8)) is None
    assert refusal(mailgun.PROVIDER, good, MAILGUN_SECRET, now=NOW + timedelta(hours=9)) == "stale"
    assert refusal(mailgun.PROVIDER, good, MAILGUN_SECRET, now=NOW - timedelta(minutes=6)) == "stale"


def test_a_token_of_mailgun_stands_for_the_happening_that_it_came_with() -> None:
    """The signature does not cover the body; the door holds the two together."""
    first = of_mailgun(mailgun_event())
    forged = of_mailgun(mailgun_event("unsubscribed", "another"))
    assert refusal(mailgun.PROVIDER, forged, MAILGUN_SECRET) is None, "no signature tells them apart"
    assert isinstance(mailgun.PROVIDER, ProvedByToken)
    token, happening = mailgun.PROVIDER.proved(first)
    assert mailgun.PROVIDER.proved(later(first, timedelta(hours=2))) == (token, happening)
    assert mailgun.PROVIDER.proved(forged)[0] == token
    assert mailgun.PROVIDER.proved(forged)[1] != happening
    for change in ({"recipient": "somebody.else@example.com"}, {"severity": "permanent"}, {"tags": []}):
        assert mailgun.PROVIDER.proved(of_mailgun(mailgun_event(**change)))[1] != happening


@pytest.mark.parametrize(
    ("event", "type_", "data"),
    [
        (mailgun_event("delivered"), "delivered", {"campaign": "spring"}),
        (mailgun_event("opened", **{"client-info": {"bot": "apple"}}), "opened", {"machine": True}),
        (mailgun_event("opened", **{"client-info": {"bot": ""}}), "opened", {"machine": False}),
        (mailgun_event("clicked", url="https://example.org/jobs"), "clicked", {"url": "https://example.org/jobs"}),
        (mailgun_event("failed", severity="permanent", reason="bounce"), "bounced", {"kind": "hard"}),
        (mailgun_event("failed", severity="permanent", reason="old"), "bounced", {"kind": "soft"}),
        (mailgun_event("failed", severity="temporary"), "bounced", {"kind": "soft"}),
        (mailgun_event("complained"), "complained", {}),
        (mailgun_event("unsubscribed", **{"client-info": {"bot": ""}}), "opted_out", {"method": "link"}),
    ],
)
def test_mailguns_events_are_what_they_say(event: dict[str, Any], type_: str, data: dict[str, Any]) -> None:
    found = record(only(mailgun.PROVIDER, of_mailgun(event)))
    assert found["type"] == type_
    assert data.items() <= found["data"].items()


def test_an_unsubscription_at_mailgun_counts_whoever_followed_the_link() -> None:
    """Mailgun takes it for one and sends nothing more; that a scanner did it is not known."""
    told = only(mailgun.PROVIDER, of_mailgun(mailgun_event("unsubscribed", **{"client-info": {"bot": "generic"}})))
    assert record(told)["type"] == "opted_out"


@pytest.mark.parametrize("written", [str(NOW.timestamp()), NOW.timestamp() + 0.5, "yesterday", None, [], -1])
def test_what_is_against_contact_is_read_whatever_form_its_time_has(written: Any) -> None:
    """A number, or a number as text, is the time; with any other it counts from when the delivery came."""
    came = NOW + timedelta(minutes=1)
    readable = isinstance(written, float) or (isinstance(written, str) and written[0].isdigit())
    sendgrid_s = of_sendgrid([sendgrid_event(kind, timestamp=written) for kind in ("unsubscribe", "spamreport")], came)
    mailgun_s = [of_mailgun(mailgun_event(kind, timestamp=written), came) for kind in ("unsubscribed", "complained")]
    told = sendgrid.PROVIDER.read(sendgrid_s) + [only(mailgun.PROVIDER, d) for d in mailgun_s]
    assert [record(one)["type"] for one in told] == ["opted_out", "complained"] * 2
    assert all((record(one)["occurred_at"] < came.isoformat()) is readable for one in told)


def test_other_providers_statements_against_contact_count_without_a_time_that_can_be_read() -> None:
    said = [
        only(postmark.PROVIDER, of_postmark(postmark_event("SpamComplaint", BouncedAt="yesterday"))),
        only(ses.PROVIDER, of_ses(ses_event("Complaint", timestamp="yesterday"))),
        only(mailgun.PROVIDER, of_mailgun(mailgun_event("complained", id_=None))),  # type: ignore[arg-type]
    ]
    assert [record(one)["type"] for one in said] == ["complained"] * 3
    with pytest.raises(Unreadable):
        postmark.PROVIDER.read(of_postmark(postmark_event("Delivery", DeliveredAt="yesterday")))


def test_what_mailgun_did_not_even_send_is_no_bounce() -> None:
    event = mailgun_event("failed", severity="permanent", reason="suppress-unsubscribe")
    assert only(mailgun.PROVIDER, of_mailgun(event)).record is None


def test_mailguns_ids_are_unique_within_a_day_only() -> None:
    today, tomorrow = (
        record(only(mailgun.PROVIDER, of_mailgun(mailgun_event(timestamp=NOW.timestamp() + s)))) for s in (0, 86_400)
    )
    assert today["id"] != tomorrow["id"]
    assert "2026-03-01" in today["id"]


# ── Amazon SES ──


@pytest.mark.parametrize("version", ["1", "2"])
def test_both_of_snss_signatures_count_and_cover_the_message(version: str) -> None:
    good = of_ses(ses_event(), version=version)
    assert refusal(SES, good, TOPIC) is None
    for field in ("Message", "Timestamp", "MessageId", "Subject"):
        tampered = json.loads(good.body) | {field: "other"}
        assert refusal(SES, replace(good, body=json.dumps(tampered).encode()), TOPIC) == "signature"
    without = {k: v for k, v in json.loads(good.body).items() if k != "Signature"}
    assert refusal(SES, replace(good, body=json.dumps(without).encode()), TOPIC) == "malformed"


@pytest.mark.parametrize(
    "address",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-" + "a1" * 16 + ".pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-" + "a1" * 16 + ".pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-" + "a1" * 16 + ".pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-" + "a1" * 16 + ".pem",
        "https://s3.eu-west-1.amazonaws.com/SimpleNotificationService-" + "a1" * 16 + ".pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-" + "a1" * 16 + ".pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-" + "a1" * 16 + ".pem?x=y",
        "https://sns.eu-west-1.amazonaws.com/bucket/SimpleNotificationService-" + "a1" * 16 + ".pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-" + "a1" * 16 + ".pem\n",
        "",
    ],
)
def test_a_certificate_is_asked_for_at_amazon_alone(address: str) -> None:
    asked: list[str] = []

    def certificates(where: str) -> bytes:
        asked.append(where)
        return sns_certificate()

    assert refusal(ses.Ses(certificates), of_ses(ses_event(), SigningCertURL=address), TOPIC) == "signature"
    assert asked == []


def test_a_certificate_that_is_none_or_over_proves_nothing() -> None:
    for pem in (b"", b"-----BEGIN CERTIFICATE-----", sns_certificate(NOW - timedelta(days=1))):
        assert refusal(ses.Ses(lambda _, pem=pem: pem), of_ses(ses_event()), TOPIC) == "signature"


def test_an_old_message_of_sns_is_taken_for_it_tries_again_with_the_same_signature() -> None:
    assert refusal(SES, of_ses(ses_event()), TOPIC, now=NOW + timedelta(days=20)) is None


def test_raw_delivery_is_refused_for_nothing_signs_it() -> None:
    raw = Delivery({"x-amz-sns-rawdelivery": "true"}, json.dumps(ses_event()).encode(), NOW)
    assert refusal(SES, raw, TOPIC) == "malformed"


def test_a_certificate_is_fetched_once_without_redirects() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        moved = {"location": "https://evil.example/"}
        return (
            httpx.Response(200, content=sns_certificate())
            if len(asked) > 2
            else httpx.Response([302, 500][len(asked) - 1], headers=moved)
        )

    now = [0.0]
    certificates = SnsCertificates(lambda: httpx.Client(transport=httpx.MockTransport(answer)), lambda: now[0])
    for _ in range(2):
        with pytest.raises(CertificateAway, match="certificate"):
            certificates(CERTIFICATE)
        now[0] += 60.0
    assert [certificates(CERTIFICATE), certificates(CERTIFICATE)] == [sns_certificate()] * 2
    assert asked == [CERTIFICATE] * 3


@pytest.mark.parametrize(
    ("event", "type_", "data"),
    [
        (ses_event("Delivery"), "delivered", {"campaign": "spring"}),
        (ses_event("Open"), "opened", {}),
        (ses_event("Click"), "clicked", {"url": "https://example.org/jobs"}),
        (ses_event("Bounce"), "bounced", {"kind": "hard"}),
        (ses_event("Bounce", bounceType="Transient"), "bounced", {"kind": "soft"}),
        (ses_event("Complaint"), "complained", {}),
        (ses_event("Subscription"), "opted_out", {"method": "one_click"}),
        (ses_event("Subscription", source="UnsubscribePage"), "opted_out", {"method": "link"}),
    ],
)
def test_sess_events_are_what_they_say(event: dict[str, Any], type_: str, data: dict[str, Any]) -> None:
    found = record(only(SES, of_ses(event)))
    assert found["type"] == type_
    assert data.items() <= found["data"].items()


def test_feedback_notifications_are_read_as_published_events_are() -> None:
    event = ses_event("Bounce")
    feedback = {"notificationType": event.pop("eventType")} | event
    assert record(only(SES, of_ses(feedback)))["id"] == record(only(SES, of_ses(ses_event("Bounce"))))["id"]


def test_each_recipient_bounces_alone_and_an_open_of_several_is_nobodys() -> None:
    two = ("ada@example.com", "grace@example.com")
    records = [record(h) for h in SES.read(of_ses(ses_event("Bounce", two)))]
    assert [r["candidate"]["email"] for r in records] == list(two)
    assert records[0]["id"] != records[1]["id"]
    assert [(h.record, h.known) for h in SES.read(of_ses(ses_event("Open", two)))] == [(None, False)]


def test_an_opt_out_of_a_message_to_several_counts_for_each() -> None:
    """SES does not say whose it is, and it may not be lost."""
    two = ("ada@example.com", "grace@example.com")
    told = [record(h) for h in SES.read(of_ses(ses_event("Subscription", two)))]
    assert [(r["type"], r["candidate"]["email"]) for r in told] == [("opted_out", who) for who in two]
    assert told[0]["id"] != told[1]["id"]


@pytest.mark.parametrize(
    "event",
    [
        ses_event("Send"),
        ses_event("DeliveryDelay"),
        ses_event("Complaint", complaintFeedbackType="not-spam"),
        ses_event("Complaint", complaintSubType="OnAccountSuppressionList"),
        ses_event("Bounce", bounceType="Permanent", bounceSubType="OnAccountSuppressionList"),
        ses_event("Subscription", newTopicPreferences={"unsubscribeAll": False}),
        "Successfully validated SNS topic for Amazon SES event publishing.",
    ],
)
def test_what_ses_tells_of_nobodys_act_is_left(event: Any) -> None:
    happening = only(SES, of_ses(event))
    assert (happening.record, happening.known) == (None, True)


def test_a_subscription_is_not_confirmed_but_shown() -> None:
    asked = {
        "Type": "SubscriptionConfirmation",
        "Token": "2336412f37",
        "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?x",
    }
    delivery = of_ses("You have chosen to subscribe", **asked)
    assert refusal(SES, delivery, TOPIC) is None
    assert refusal(SES, delivery, TOPIC + "-other") == "signature", "of a topic of others nobody hears"
    happening = only(SES, delivery)
    assert (happening.kind, happening.record, happening.known) == ("SubscriptionConfirmation", None, False)
