"""Amazon SES, its events published through SNS (docs.aws.amazon.com/ses/latest/dg: event-publishing-retrieving-sns-
contents and -examples, notification-contents).

The event is JSON in a string of SNS's JSON. A secret is the ARN of a topic: SNS's signature says that Amazon sent it,
the topic that it is ours. It covers the whole message and SNS tries again for long with the same one; a happening
counts once, so none is too old. SES has no id of an event that is the same through two topics: it is made of type,
message, recipient, time and link.

A subscription is not confirmed by itself: the request is kept and shown, with the link, to be opened by an operator.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from consumers.webhooks import payload, sns
from consumers.webhooks.delivery import Delivery, Happening, Unreadable
from infra.sns_certificates import SnsCertificates

TYPES = {
    #  event        interaction   part      its recipients
    "Delivery": ("delivered", "delivery", "recipients"),
    "Open": ("opened", "open", None),
    "Click": ("clicked", "click", None),
    "Bounce": ("bounced", "bounce", "bouncedRecipients"),
    "Complaint": ("complained", "complaint", "complainedRecipients"),
    "Subscription": ("opted_out", "subscription", None),
}
LEFT = {"Send", "Reject", "DeliveryDelay", "Rendering Failure", "RenderingFailure", "AmazonSnsSubscriptionSucceeded"}
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}")
VALIDATED = "Successfully validated SNS topic"
"""How the text begins that SES publishes once, when a topic is chosen."""


class Ses:
    """Mail sent by Amazon SES."""

    name = "ses"
    asks = True

    def __init__(self, certificates: sns.Certificates) -> None:
        self._certificates = certificates

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:
        """See `consumers.webhooks.delivery.Provider`."""
        sns.check(delivery, secrets, now, self._certificates)

    def unfit(self, secret: str) -> str | None:
        """See `consumers.webhooks.delivery.Particular`."""
        return None if _TOPIC.fullmatch(secret) else "it is the topic's ARN, as arn:aws:sns:eu-west-1:123456789012:name"

    def read(self, delivery: Delivery) -> list[Happening]:
        """One a recipient. See `consumers.webhooks.delivery.Provider`."""
        outer = payload.document(delivery.body)
        if outer.get("Type") in sns.CONFIRMATIONS:
            return [Happening(str(outer["Type"]), known=False)]
        text = outer.get("Message")
        if not isinstance(text, str):
            raise Unreadable("Message: should be a text")
        if text.startswith(VALIDATED):
            return [Happening("validation of the topic")]
        body = payload.document(text.encode(errors="replace"))
        kind = payload.word(body, "eventType" if "eventType" in body else "notificationType")
        if kind not in TYPES:
            return [Happening(kind, known=kind in LEFT)]
        type_, part_name, recipients = TYPES[kind]
        mail, part = payload.member(body, "mail"), payload.member(body, part_name)
        if (data := _data(kind, mail, part)) is None:
            return [Happening(f"{kind}, of which nothing follows")]
        time = payload.instant_of(type_, part.get("timestamp"), delivery.received_at)
        link = payload.line(part.get("link"), 2_000)
        happenings = []
        for email in _recipients(mail, part, recipients, each=type_ == "opted_out"):
            if email is None:
                happenings.append(Happening(kind, known=False))
                continue
            id_ = [kind, payload.line(mail.get("messageId")), email, str(part.get("timestamp")), link]
            happenings.append(
                payload.told(self.name, kind, type_, {"email": email}, time, id_, channel="email", **data)
            )
        return happenings


def _recipients(mail: dict[str, Any], part: dict[str, Any], name: str | None, *, each: bool) -> list[str | None]:
    """Whom it is about. None for whoever has no usable address, and where SES does not say which of several it is,
    unless it is to count for `each`: an opt-out is not lost.
    """
    found = part.get(name) if name is not None else mail.get("destination")
    if not isinstance(found, list) or not found:
        raise Unreadable(f"{name or 'destination'}: should name the recipients")
    if name is None and len(found) > 1 and not each:
        return [None]
    texts = [r.get("emailAddress") if isinstance(r, dict) else r for r in found]
    return list(dict.fromkeys(map(payload.address, texts)))


def _data(kind: str, mail: dict[str, Any], part: dict[str, Any]) -> dict[str, Any] | None:
    """The interaction's data; None when the event says nothing of the person."""
    data: dict[str, Any] = {
        "message": payload.line(mail.get("messageId")),
        "campaign": payload.label(payload.at(mail, "tags", "campaign", 0)),
    }
    match kind:
        case "Bounce":  # of the account's own list is also who complained; nothing was sent
            if part.get("bounceSubType") == "OnAccountSuppressionList":
                return None
            return data | {"kind": "hard" if part.get("bounceType") == "Permanent" else "soft"}
        case "Complaint":  # SES did not send, knowing of an earlier one; or somebody took one back
            old = part.get("complaintSubType") == "OnAccountSuppressionList"
            return None if old or part.get("complaintFeedbackType") == "not-spam" else data
        case "Click":
            return data | {"url": payload.line(part.get("link"), 2_000)}
        case "Subscription":
            return _opt_out(part)
        case _:
            return data


def _opt_out(part: dict[str, Any]) -> dict[str, Any] | None:
    """By the header's one-click request (RFC 8058) or SES's own page; None when nothing was given up."""
    before, after = (_given_up(payload.at(part, name)) for name in ("oldTopicPreferences", "newTopicPreferences"))
    if not after - before:
        return None
    return {"method": "one_click" if part.get("source") == "UnsubscribeHeader" else "link"}


def _given_up(preferences: Any) -> set[str]:
    topics = payload.at(preferences, "topicSubscriptionStatus")
    given_up = {"*"} if payload.at(preferences, "unsubscribeAll") is True else set()
    for topic in topics if isinstance(topics, list) else []:
        if payload.at(topic, "subscriptionStatus") == "OptOut":
            given_up.add(orjson.dumps(payload.at(topic, "topicName")).decode())
    return given_up


PROVIDER = Ses(SnsCertificates())
