"""Postmark's webhooks (postmarkapp.com/developer/webhooks: webhooks-overview, and a page for each type).

Postmark does not sign: a secret stands in the address, as user and password (`user:password`) or behind the provider's
name, and goes over TLS. Nothing proves when a delivery was made, so none is too old. Most events have no id either: it
is made of what tells one from another (type, message, recipient, time, link), and so is the same at each attempt.

Postmark's unsubscribe page and one-click requests change a subscription, with the recipient as origin; what the
customer or Postmark's staff change says nothing of the person.
"""

import binascii
import hmac
from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from consumers.webhooks import payload
from consumers.webhooks.delivery import Delivery, Happening, Refused, Unreadable

HARD = {"HardBounce", "BadEmailAddress"}
SOFT = {"Transient", "SoftBounce", "DnsError", "Blocked", "Undeliverable", "DMARCPolicy", "Unknown"}
NO_BOUNCE = {
    *("AutoResponder", "AddressChange", "Subscribe", "OpenRelayTest", "ChallengeVerification", "VirusNotification"),
    *("ManuallyDeactivated", "Unconfirmed", "SMTPApiError", "InboundError", "TemplateRenderingFailed"),
}
TYPES = {
    #  record type      interaction   whose     when
    "Delivery": ("delivered", "Recipient", "DeliveredAt"),
    "Open": ("opened", "Recipient", "ReceivedAt"),
    "Click": ("clicked", "Recipient", "ReceivedAt"),
    "Bounce": ("bounced", "Email", "BouncedAt"),
    "SpamComplaint": ("complained", "Email", "BouncedAt"),
    "SubscriptionChange": ("opted_out", "Recipient", "ChangedAt"),
}


class Postmark:
    """Mail sent by Postmark."""

    name = "postmark"
    answer = 200
    """Postmark tries again after any other."""

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG002 - see above
        """See `consumers.webhooks.delivery.Provider`."""
        given = [text.encode() for text in (delivery.path_secret, _basic(delivery)) if text]
        if not any([hmac.compare_digest(g, s.encode()) for g in given for s in secrets]):  # noqa: C419 - in equal time
            raise Refused("signature", "neither user and password nor the address hold a secret of this provider")

    def read(self, delivery: Delivery) -> list[Happening]:
        """One at most. See `consumers.webhooks.delivery.Provider`."""
        body = payload.document(delivery.body)
        kind = payload.word(body, "RecordType")
        if kind not in TYPES:
            return [Happening(kind, known=False)]
        type_, whose, when = TYPES[kind]
        email = payload.address(body.get(whose))
        if email is None:
            raise Unreadable(f"{whose}: should be an address")
        found = _facts(kind, type_, body)
        if isinstance(found, Happening):
            return [found]
        type_, data = found
        time = payload.instant_of(type_, body.get(when), delivery.received_at)
        link = payload.line(body.get("OriginalLink"), 2_000)
        number = str(body["ID"]) if isinstance(body.get("ID"), int) and kind in ("Bounce", "SpamComplaint") else None
        id_ = [kind, payload.line(body.get("MessageID")), email, str(body.get(when)), link, number]
        return [payload.told(self.name, kind, type_, {"email": email}, time, id_, channel="email", **data)]


def _facts(kind: str, type_: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]] | Happening:
    """The interaction's type and data; or what happened, where that is none of ours."""
    data: dict[str, Any] = {
        "message": payload.line(body.get("MessageID")),
        "campaign": payload.label(body.get("Tag")),
    }
    match kind:
        case "Bounce":
            return _bounce(str(body.get("Type")), data)
        case "Click":
            return type_, data | {"url": payload.line(body.get("OriginalLink"), 2_000)}
        case "SubscriptionChange":
            return _opted_out(body)
        case _:
            return type_, data


def _bounce(why: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]] | Happening:
    if why in HARD | SOFT:
        return "bounced", data | {"kind": "hard" if why in HARD else "soft"}
    if why in ("SpamComplaint", "SpamNotification"):
        return "complained", data
    if why == "Unsubscribe":  # the person answered with a request to be removed
        return "opted_out", {"method": "reply"}
    return Happening(f"Bounce {payload.label(why, 'unnamed')}", known=why in NO_BOUNCE)


def _opted_out(body: dict[str, Any]) -> tuple[str, dict[str, Any]] | Happening:
    reason = body.get("SuppressionReason")
    if body.get("SuppressSending") is True and reason == "SpamComplaint":
        return "opted_out", {"method": "complaint"}
    if body.get("SuppressSending") is True and reason == "ManualSuppression" and body.get("Origin") == "Recipient":
        return "opted_out", {"method": "link"}
    return Happening("SubscriptionChange")


def _basic(delivery: Delivery) -> str | None:
    """User and password of HTTP's basic authentication (RFC 7617), as `user:password`."""
    scheme, _, text = delivery.headers.get("authorization", "").partition(" ")
    try:
        return b64decode(text, validate=True).decode() if scheme.lower() == "basic" else None
    except (binascii.Error, ValueError):
        return None


PROVIDER = Postmark()
