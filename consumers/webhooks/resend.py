"""Resend: mail, told of through Svix (resend.com/docs/webhooks/verify-webhooks-requests, …/event-types).

Signed like Standard Webhooks, with headers `svix-…`; `svix-id` stays the same over all attempts, which go on for a day
(docs.svix.com/retries). An event names every recipient that it is about: one interaction each.

Resend says nothing of machines; a link that was followed by what calls itself one is marked. `email.sent` is no contact
of its own: whoever sent it through Resend recorded it. A contact that is unsubscribed has opted out from email, stated
again by each change of the contact. A click is never an opt-out, whatever the link: scanners follow all of them.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from consumers.webhooks import payload, standard
from consumers.webhooks.delivery import Delivery, Happening, Unreadable

TYPES = {
    "email.delivered": "delivered",
    "email.opened": "opened",
    "email.clicked": "clicked",
    "email.bounced": "bounced",
    "email.complained": "complained",
}
CONTACTS = {"contact.created", "contact.updated"}
LEFT = {
    *("email.sent", "email.scheduled", "email.delivery_delayed", "email.failed", "email.suppressed", "email.received"),
    *("contact.deleted", "domain.created", "domain.updated", "domain.deleted"),
    *("suppression.added", "suppression.removed"),
}
"""What is none of Rapport's events."""

_CALLS_ITSELF_A_MACHINE = re.compile(r"(?<!cu)bot\b|crawl|spider|scan|preview|proxy|curl/|wget/|python-|headless", re.I)


class Resend:
    """Mail sent by Resend."""

    name = "resend"

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:
        """See `consumers.webhooks.delivery.Provider`."""
        standard.check(delivery, secrets, now, "svix")

    def unfit(self, secret: str) -> str | None:
        """See `consumers.webhooks.delivery.Particular`."""
        return standard.unfit(secret)

    def read(self, delivery: Delivery) -> list[Happening]:
        """One interaction a recipient. See `consumers.webhooks.delivery.Provider`."""
        body = payload.document(delivery.body)
        kind, message_id = payload.word(body, "type"), payload.header(delivery, "svix-id")
        if kind in CONTACTS:
            came = delivery.received_at
            return [self._contact(kind, payload.member(body, "data"), body.get("created_at"), message_id, came)]
        if kind not in TYPES:
            return [Happening(kind, known=kind in LEFT)]
        data = payload.member(body, "data")
        recipients = data.get("to")
        if not isinstance(recipients, list) or not recipients:
            raise Unreadable("data.to: should name the recipients")
        written = payload.at(data, "click", "timestamp") or body.get("created_at")
        time = payload.instant_of(TYPES[kind], written, delivery.received_at)
        return [
            self._email(kind, data, recipient, time, message_id)
            for recipient in dict.fromkeys(map(payload.address, recipients))
        ]

    def _email(self, kind: str, data: dict[str, Any], to: str | None, time: datetime, message_id: str) -> Happening:
        if to is None:
            return Happening(kind, known=False)
        details: dict[str, Any] = {
            "message": payload.line(data.get("email_id")),
            "campaign": payload.label(data.get("broadcast_id")),
        }
        if kind == "email.bounced":
            details["kind"] = "hard" if payload.at(data, "bounce", "type") in ("Permanent", None) else "soft"
        if kind == "email.clicked":
            details["url"] = payload.line(payload.at(data, "click", "link"), 2_000)
            agent = payload.at(data, "click", "userAgent")
            details["machine"] = True if isinstance(agent, str) and _CALLS_ITSELF_A_MACHINE.search(agent) else None
        id_ = (message_id, to)
        return payload.told(self.name, kind, TYPES[kind], {"email": to}, time, id_, channel="email", **details)

    def _contact(self, kind: str, data: dict[str, Any], created_at: Any, message_id: str, came: datetime) -> Happening:
        """An opt-out where the contact is unsubscribed; else nothing: an audience is no source of people."""
        email = payload.address(data.get("email"))
        if data.get("unsubscribed") is not True:
            return Happening(kind)
        if email is None:
            return Happening(kind, known=False)
        time = payload.instant_of("opted_out", data.get("updated_at") or created_at, came)
        id_ = (message_id, email)
        return payload.told(self.name, kind, "opted_out", {"email": email}, time, id_, channel="email")


PROVIDER = Resend()
