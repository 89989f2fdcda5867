"""SendGrid's Event Webhook (twilio.com/docs/sendgrid/for-developers/tracking-events: event,
getting-started-event-webhook-security-features).

The secret is the public key that SendGrid shows: it signs timestamp and raw body with ECDSA on P-256 and SHA-256. Posts
are arrays; each event has a `sg_event_id`, and comes more than once as a matter of course. SendGrid tries again for a
day, and does not say whether with a new timestamp: as the signature covers the body, and a happening counts once, an
old post does no harm, and is taken for so long.

`unsubscribe` comes from the page behind the subscription link or a List-Unsubscribe request, not from a followed link.
An event that is broken is kept and shown, and the others of its array count.
"""

import binascii
from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from consumers.webhooks import payload
from consumers.webhooks.delivery import REPLAY_WINDOW, Delivery, Happening, Refused, Unreadable
from domain.consent import TAKEN_BACK

SIGNATURE, TIMESTAMP = "x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"
RETRIED_FOR = timedelta(hours=25)
TYPES = {
    "delivered": "delivered",
    "open": "opened",
    "click": "clicked",
    "bounce": "bounced",
    "spamreport": "complained",
    "unsubscribe": "opted_out",
    "group_unsubscribe": "opted_out",
}
LEFT = {"processed", "deferred", "dropped", "group_resubscribe", "account_status_change"}
"""`dropped` was never sent, `deferred` is not over; that a person is back on a list of theirs lifts no opt-out here."""


class SendGrid:
    """Mail sent by SendGrid."""

    name = "sendgrid"

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:
        """See `consumers.webhooks.delivery.Provider`."""
        timestamp, signature = delivery.headers.get(TIMESTAMP, ""), delivery.headers.get(SIGNATURE, "")
        if not timestamp or not signature:
            raise Refused("signature", f"the headers {SIGNATURE} and {TIMESTAMP} are needed")
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 11):
            raise Refused("malformed", f"{TIMESTAMP} should be seconds since 1970")
        if not any(_proves(secret, signature, timestamp.encode() + delivery.body) for secret in secrets):
            raise Refused("signature", "it is not signed by a key of this provider")
        age_s = now.timestamp() - int(timestamp)
        if not -REPLAY_WINDOW.total_seconds() <= age_s <= RETRIED_FOR.total_seconds():
            raise Refused("stale", "signed too long ago, or ahead of the clock")

    def unfit(self, secret: str) -> str | None:
        """See `consumers.webhooks.delivery.Particular`."""
        try:
            _key(secret)
        except (UnsupportedAlgorithm, ValueError, TypeError):
            return "it is the verification key, base64 as SendGrid shows it, with or without a PEM frame"
        return None

    def read(self, delivery: Delivery) -> list[Happening]:
        """One for each element. See `consumers.webhooks.delivery.Provider`."""
        try:
            events = orjson.loads(delivery.body)
        except orjson.JSONDecodeError:
            raise Unreadable("the body is not JSON") from None
        if not isinstance(events, list):
            raise Unreadable("the body should be a JSON array of events")
        return [self._happening(event, delivery.received_at) for event in events]

    def _happening(self, event: Any, came: datetime) -> Happening:
        if not isinstance(event, dict):
            return Happening("no event", known=False)
        kind = payload.label(event.get("event"), "unnamed") or "unnamed"
        if kind not in TYPES:
            return Happening(kind, known=kind in LEFT)
        email, time = payload.address(event.get("email")), payload.seconds(event.get("timestamp"))
        if time is None and TYPES[kind] in TAKEN_BACK:
            time = payload.instant(None, came)
        if email is None or time is None:
            return Happening(kind, known=False)
        data: dict[str, Any] = {}
        if kind in ("delivered", "open", "click", "bounce", "spamreport"):
            data["message"], data["campaign"] = _message(event), _campaign(event)
        if kind == "open" and isinstance(event.get("sg_machine_open"), bool):
            data["machine"] = event["sg_machine_open"]
        if kind == "click":
            data["url"] = payload.line(event.get("url"), 2_000)
        if kind == "bounce":
            data["kind"] = "hard" if event.get("type") in (None, "bounce") else "soft"
        if TYPES[kind] == "opted_out":
            data["method"] = "link"
        id_ = payload.line(event.get("sg_event_id"))
        written = str(event.get("timestamp"))
        parts = [id_] if id_ else [kind, _message(event), email, written, payload.line(event.get("url"), 2_000)]
        return payload.told(self.name, kind, TYPES[kind], {"email": email}, time, parts, channel="email", **data)


def _message(event: dict[str, Any]) -> str | None:
    """The message's id as the sender was told it; SendGrid adds to it, behind a dot, where it was handled."""
    id_ = payload.line(event.get("sg_message_id"))
    return id_.partition(".")[0] or None if id_ else payload.line(event.get("smtp-id"))


def _campaign(event: dict[str, Any]) -> str | None:
    category = event.get("category")
    names = [event.get("singlesend_name"), event.get("marketing_campaign_name")]
    names += category if isinstance(category, list) else [category]
    return next((name for name in map(payload.label, names) if name), None)


def _proves(secret: str, signature: str, content: bytes) -> bool:
    try:
        _key(secret).verify(b64decode(signature, validate=True), content, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):  # a broken key or signature proves nothing
        return False
    return True


@lru_cache(maxsize=16)
def _key(secret: str) -> ec.EllipticCurvePublicKey:
    """The key in base64, with or without PEM's frame. Raises ValueError when it is none on P-256."""
    text = "".join(line for line in secret.splitlines() if not line.startswith("-----"))
    try:
        key = load_der_public_key(b64decode(text, validate=True))
    except binascii.Error as error:
        raise ValueError("no key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("no key on P-256")
    return key


PROVIDER = SendGrid()
