"""Lever (hire.lever.co/developer/documentation#webhooks).

The signature stands in the body and is the HMAC of `token` and `triggeredAt` alone: whoever has seen one could send any
body with it. So the token is given to the door, which takes it with no other body. Each webhook has a signature token
of its own: several secrets at a time are the rule. Lever tries six times, with growing pauses, and does not say for how
long; `triggeredAt` is when it happened, not when it was sent, and is taken for eight hours.

Payloads hold ids only: no name, address, job, nor a word for a stage. A person is their contact, who may have several
opportunities. The archive is where the rejected *and* the hired go, and its reason is an id that only the account can
tell apart: `candidateArchiveChange` is therefore a stage, and no rejection of somebody who may have been hired.
`applicationCreated` does not say who applied whom; in Lever the webhook can be limited to the origin `applied`.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from consumers.webhooks import payload
from consumers.webhooks.delivery import REPLAY_WINDOW, Delivery, Happening, Refused, Unreadable

TAKEN_FOR = timedelta(hours=8)
"""How old a delivery may be; the door has to know its token for longer."""
TYPES = {"applicationCreated": "applied", "candidateHired": "hired", "contactCreated": "sourced"}
STAGES = {"candidateStageChange", "candidateArchiveChange"}
LEFT = {"candidateDeleted", "contactUpdated", "interviewCreated", "interviewUpdated", "interviewDeleted"}
"""What is none of Rapport's events; deleting in Lever is no request to erase."""


class Lever:
    """An applicant tracking system."""

    name = "lever"

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:
        """See `consumers.webhooks.delivery.Provider`."""
        try:
            body = payload.document(delivery.body)
            time = payload.instant(body.get("triggeredAt"))
        except Unreadable:
            raise Refused("malformed", "a delivery of Lever is a JSON object that says when it was triggered") from None
        token, signature = body.get("token"), body.get("signature")
        if not (isinstance(token, str) and token and isinstance(signature, str)):
            raise Refused("signature", "it is not signed; generate a signature token in Lever's settings")
        if not payload.proves(f"{token}{body['triggeredAt']}".encode(), signature, secrets):
            raise Refused("signature", "the signature is not by a signature token of this provider")
        if not now - TAKEN_FOR <= time <= now + REPLAY_WINDOW:
            raise Refused("stale", f"it was triggered more than {TAKEN_FOR.seconds // 3600} hours ago, or lies ahead")

    def proved(self, delivery: Delivery) -> tuple[str, str]:
        """See `consumers.webhooks.delivery.ProvedByToken`."""
        body = payload.document(delivery.body)
        return str(body.get("token")), _digest(body)

    def read(self, delivery: Delivery) -> list[Happening]:
        """See `consumers.webhooks.delivery.Provider`."""
        body = payload.document(delivery.body)
        kind = payload.word(body, "event")
        if kind not in TYPES and kind not in STAGES:
            return [Happening(kind, known=kind in LEFT)]
        data = payload.member(body, "data")
        if not data:  # Lever's own test of an address
            return [Happening(kind)]
        if kind in TYPES:
            return [self._told(kind, TYPES[kind], body, data)]
        if kind == "candidateStageChange":
            stage = payload.label(payload.key(data, "toStageId"), "unnamed")
            return [self._told(kind, "stage_changed", body, data, stage=stage)]
        if "toArchived" not in data:
            return [Happening(kind, known=False)]
        archived = data["toArchived"]
        stage, reason = "archived" if archived else "unarchived", payload.line(payload.at(archived, "reason"))
        return [self._told(kind, "stage_changed", body, data, stage=stage, reason=reason)]

    def _told(self, kind: str, type_: str, body: dict[str, Any], data: dict[str, Any], **details: Any) -> Happening:
        who = payload.person(self.name, payload.key(data, "contactId" if data.get("contactId") else "opportunityId"))
        own = body.get("id")
        id_ = ("event", own) if isinstance(own, str) and own else ("told", _digest(body))
        return payload.told(self.name, kind, type_, who, payload.instant(body.get("triggeredAt")), id_, **details)


def _digest(body: dict[str, Any]) -> str:
    """All that is told, and nothing of the attempt."""
    told = [body.get(name) for name in ("id", "event", "triggeredAt", "data")]
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


PROVIDER = Lever()
