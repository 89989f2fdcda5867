"""Recipients of a person's data confirm what the feed told them to do with it (Art. 19 GDPR).

What was corrected or restricted is confirmed by an event on the record itself, as `recipient_notified`. An erased
record takes no more events, so that goes into a bucket of its own, under the erasure it belongs to; nothing in it is
about the person but the record's id.
"""

from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from api.node import Node
from consumers.relay import fact_of
from domain.errors import ErasedCandidate
from domain.event import utc_now
from domain.interaction import parse
from domain.published import ABOUT_BY_EFFECT, Fact, messages, place_of
from infra.jetstream import RawMessage
from infra.jetstream.stream import EPOCH, get_message
from infra.recording import Accepted, Duplicate, Outcome, Rejected


class Acknowledged(NamedTuple):
    """It is kept: as the event `seq`, or, where no event was recorded for it now, beside the erasure or from before."""

    candidate_id: str
    is_new: bool
    seq: int | None = None


class UnknownMessage(Exception):
    """The feed never had a message of this id, or not one that is to be acknowledged; the message says which."""


def acknowledge(node: Node, recipient: str, message_id: str, actor: str) -> Acknowledged | Rejected:
    """Records that `recipient` has done what the message said. The same again changes nothing.

    Raises UnknownMessage.
    """
    fact, effect = _told(node, message_id)
    if effect != "erased":
        match _record(node, fact, effect, recipient, message_id, actor):
            case Accepted(candidate_id=id_, seq=seq):
                return Acknowledged(id_, True, seq)
            case Duplicate(candidate_id=id_):
                return Acknowledged(id_, False)
            case Rejected(code=code) as rejected if code != ErasedCandidate.code:
                return rejected
    kept = {
        "recipient": recipient,
        "message": message_id,
        "about": ABOUT_BY_EFFECT[effect],
        "candidate": fact.id,
        "erasure": (fact.fields or {}).get("erasure") or _erasure_of(node, fact.id),
        "acknowledged_at": utc_now().isoformat(),
    }
    key = f"{fact.seq}.{recipient.encode().hex()}"
    return Acknowledged(fact.id, node.acknowledgements.create(key, orjson.dumps(kept)))


def _erasure_of(node: Node, candidate_id: str) -> str | None:
    return next((e.id for e in node.erasures.all() if candidate_id in (e.candidate_id, *e.wanted)), None)


def kept(node: Node) -> list[dict[str, Any]]:
    """What was acknowledged of those who were erased, oldest first; each with an id that says nothing."""
    found = node.acknowledgements.load_all()
    rows = [{"id": sha256(key.encode()).hexdigest()[:32], **orjson.loads(value)} for key, value in found.items()]
    return sorted(rows, key=lambda row: (row["acknowledged_at"], row["recipient"]))


def _told(node: Node, message_id: str) -> tuple[Fact, str]:
    """The event that the feed told of, and the effect."""
    place = place_of(message_id)
    stored = None
    if place is not None and place[0] > 0:
        stored = node.connection.call(get_message(node.connection, node.stream, seq=place[0]))
    fact = (
        None
        if stored is None
        else fact_of(RawMessage(stored.seq, _ns(stored.recorded_at), stored.subject, stored.body))
    )
    if place is None or fact is None or message_id not in {m.id for m in messages(fact)}:
        raise UnknownMessage(
            "the feed has no message of this id; give `id` of the message as it is, such as 1234/erased"
        )
    effect = place[1]
    if effect not in ABOUT_BY_EFFECT:
        raise UnknownMessage(
            f"only messages about {', '.join(sorted(ABOUT_BY_EFFECT))} are acknowledged (Art. 19 GDPR): those on "
            "feed.compliance"
        )
    return fact, effect


def _ns(moment: datetime) -> int:
    return int((moment - EPOCH).total_seconds() * 1_000_000) * 1_000


def _record(node: Node, fact: Fact, effect: str, recipient: str, message_id: str, actor: str) -> Outcome:
    data = {"recipient": recipient, "about": ABOUT_BY_EFFECT[effect], "acknowledged": True}
    if request := (fact.fields or {}).get("request"):
        data["request"] = request
    document = {
        "id": f"feed:{message_id}:{recipient}",
        "type": "recipient_notified",
        "candidate": {"id": fact.id},
        "occurred_at": utc_now().isoformat(),
        "actor": actor,
        "data": data,
    }
    (outcome,) = node.recording.record([parse(document)], facts=True)
    return outcome
