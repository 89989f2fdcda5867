"""Mailgun's webhooks (documentation.mailgun.com/docs/mailgun/user-manual: webhooks/securing-webhooks,
webhooks/webhook-payloads, events/event-structure, events/event-types).

The signature covers timestamp and token, and not the body: whoever saw one could send anything with it. So a token is
taken with the happening that it first came with, and with no other. Mailgun tries again for eight hours and does not
say whether it signs anew; for so long a signature is taken. An event's id is unique within a day only.

`client-info.bot` names the machine that opened or clicked. Mailgun counts an unsubscription whoever followed the link,
and so does Rapport: that a scanner did is likely, and not known.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from consumers.webhooks import payload
from consumers.webhooks.delivery import REPLAY_WINDOW, Delivery, Happening, Refused, Unreadable
from domain.consent import TAKEN_BACK

RETRIED_FOR = timedelta(hours=8, minutes=15)
TYPES = {
    "delivered": "delivered",
    "opened": "opened",
    "clicked": "clicked",
    "failed": "bounced",
    "complained": "complained",
    "unsubscribed": "opted_out",
}
LEFT = {"accepted", "rejected", "stored", "list_member_uploaded", "list_member_upload_error", "list_uploaded"}
GAVE_UP = {"old", "espblock", "greylisted"}
"""Reasons of a permanent failure that say nothing against the address."""


class Mailgun:
    """Mail sent by Mailgun."""

    name = "mailgun"
    answer = 200
    """Mailgun tries again after any other, 406 aside."""

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:
        """See `consumers.webhooks.delivery.Provider`."""
        try:
            signed = payload.member(payload.document(delivery.body), "signature")
        except Unreadable as error:
            raise Refused("malformed", str(error)) from None
        timestamp, token, signature = (str(signed.get(name) or "") for name in ("timestamp", "token", "signature"))
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 11 and token and signature):
            raise Refused("malformed", "signature: timestamp, token and signature are needed")
        if not payload.proves((timestamp + token).encode(errors="replace"), signature, secrets):
            raise Refused("signature", "it is not signed with a signing key of this provider")
        age_s = now.timestamp() - int(timestamp)
        if not -REPLAY_WINDOW.total_seconds() <= age_s <= RETRIED_FOR.total_seconds():
            raise Refused("stale", "signed too long ago, or ahead of the clock")

    def proved(self, delivery: Delivery) -> tuple[str, str]:
        """See `consumers.webhooks.delivery.ProvedByToken`."""
        body = payload.document(delivery.body)
        event = payload.at(body, "event-data")
        token = f"{payload.at(body, 'signature', 'timestamp')}.{payload.at(body, 'signature', 'token')}"
        return token, hashlib.sha256(orjson.dumps(event, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def read(self, delivery: Delivery) -> list[Happening]:
        """One at most. See `consumers.webhooks.delivery.Provider`."""
        event = payload.member(payload.document(delivery.body), "event-data")
        kind = payload.word(event, "event")
        if kind not in TYPES:
            return [Happening(kind, known=kind in LEFT)]
        email, id_ = payload.address(event.get("recipient")), payload.line(event.get("id"))
        time, against = payload.seconds(event.get("timestamp")), TYPES[kind] in TAKEN_BACK
        if email is None or not (id_ or against):
            raise Unreadable("recipient and id: should be an address and an id")
        if time is None and not against:
            raise Unreadable("timestamp: should be seconds since 1970")
        bot = payload.at(event, "client-info", "bot")
        data: dict[str, Any] = {}
        match kind:
            case "unsubscribed":
                data["method"] = "link"
            case "failed":
                if (how := _bounce(event)) is None:
                    return [Happening("failed, suppressed")]
                data["kind"] = how
            case "opened" | "clicked":
                data["machine"] = None if bot is None else bool(bot)
        if kind == "clicked":
            data["url"] = payload.line(event.get("url"), 2_000)
        if kind != "unsubscribed":
            data["message"] = payload.line(payload.at(event, "message", "headers", "message-id"))
            data["campaign"] = _campaign(event)
        parts = [None if time is None else time.date().isoformat(), id_]
        if id_ is None:
            parts += [kind, email, str(event.get("timestamp"))]
        at = time or payload.instant(None, delivery.received_at)
        return [payload.told(self.name, kind, TYPES[kind], {"email": email}, at, parts, channel="email", **data)]


def _bounce(event: dict[str, Any]) -> str | None:
    """`hard` or `soft`; None when Mailgun did not even try, knowing the address from before."""
    reason = event.get("reason")
    if isinstance(reason, str) and reason.startswith("suppress"):
        return None
    return "hard" if event.get("severity") == "permanent" and reason not in GAVE_UP else "soft"


def _campaign(event: dict[str, Any]) -> str | None:
    tags = event.get("tags")
    names = [payload.at(event, "campaigns", 0, "name"), *(tags if isinstance(tags, list) else [])]
    return next((name for name in map(payload.label, names) if name), None)


PROVIDER = Mailgun()
