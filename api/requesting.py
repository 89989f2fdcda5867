"""Data subjects' requests (Art. 15 to 22 GDPR): received, given more time, answered, and who else was told.

Each of these is an interaction on the record that the request lies on; `domain.request` has the rules, the view
`requests` the state of each.
"""

import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import orjson
from duckdb import DuckDBPyConnection

from api.node import Node
from domain.errors import RequestRefused
from domain.event import utc_now
from domain.interaction import Reference, parse
from domain.policy import Channel, RequestKind, RequestOutcome
from infra.recording import Outcome
from projections import person, queries

Row = dict[str, Any]

TOLD_ABOUT = (RequestKind.RECTIFICATION, RequestKind.ERASURE, RequestKind.RESTRICTION)
"""What those are told of to whom data was disclosed (Art. 19 GDPR)."""


def receive(
    node: Node,
    reference: Reference,
    asks_for: RequestKind,
    received_at: datetime,
    actor: str,
    *,
    request_id: str | None = None,
    details: str | None = None,
    channel: Channel | None = None,
    source: str | None = None,
) -> tuple[str, Outcome]:
    """Opens a request of the person that `reference` means; its id, and what became of it.

    With a `request_id` of the caller's own, sending the same again changes nothing. `source` makes a record of
    somebody who is not known yet: they, too, have to be answered. Raises InvalidInteraction.
    """
    request_id = request_id or uuid4().hex
    data = {"request": request_id, "asks_for": asks_for, "details": details}
    candidate = reference.model_dump(exclude_none=True)
    more = {"channel": channel, "source": source}
    return request_id, _record(node, "request_received", candidate, received_at, actor, data, **more)


def extend(node: Node, request: Row, reason: str, explanation: str | None, told_at: datetime, actor: str) -> Outcome:
    """Two more months, of which the person was told at `told_at`; refused when that was too late."""
    data = {"request": request["request_id"], "reason": reason, "explanation": explanation}
    return _on(node, request, "request_extended", told_at, actor, data)


def close(
    node: Node, request: Row, outcome: RequestOutcome, explanation: str | None, closed_at: datetime, actor: str
) -> Outcome:
    """The request was answered at `closed_at`. Raises RequestRefused."""
    data = {"request": request["request_id"], "outcome": outcome, "explanation": explanation}
    return _on(node, request, "request_closed", closed_at, actor, data)


def tell(
    node: Node, request: Row, recipient: str, about: RequestKind | None, told_at: datetime, actor: str, *, ack: bool
) -> Outcome:
    """A recipient of the person's data was told at `told_at` what to do with it, or with `ack` confirmed it.

    `about` is what they were told of; what the request asks for, unless given. Raises RequestRefused.
    """
    about = about or RequestKind(request["asks_for"])
    if about not in TOLD_ABOUT:
        raise RequestRefused(
            f"recipients are told of {', '.join(TOLD_ABOUT)} (Art. 19 GDPR), and this request asks for {about}; "
            "say which of them followed from it"
        )
    data = {"request": request["request_id"], "recipient": recipient, "about": about, "acknowledged": ack}
    return _on(node, request, "recipient_notified", told_at, actor, data)


def find(node: Node, request_id: str, as_of: datetime | None = None) -> Row | None:
    """The request of this id with all that was recorded by now, as of then; None when there is none."""
    node.wait_for(node.ledger.last_seq())

    def asked(cursor: DuckDBPyConnection) -> list[Row]:
        as_of_then(cursor, as_of)
        return queries.rows(cursor, "requests", "one", request_id=request_id)

    found = node.ask(asked)
    return found[0] if found else None


def listed(
    cursor: DuckDBPyConnection,
    *,
    states: Sequence[str] = (),
    asks_for: str | None = None,
    canonical_id: str | None = None,
    after: tuple[datetime, int] | None = None,
    limit: int = 100,
) -> list[Row]:
    """Requests by when they are due, the most urgent first; `after` is `due_at` and `received_seq` of the last row."""
    due, seq = after or (None, None)
    about = {"states": list(states), "asks_for": asks_for, "canonical_id": canonical_id}
    return queries.rows(cursor, "requests", "list", **about, after_due_at=due, after_seq=seq, limit=limit)


def page(node: Node, request: Row) -> Row:
    """All there is about one request: its row, every event that names it, who was told, and what carries it out."""
    with node.projector.cursor() as cursor:
        held = person.events(cursor, queries.records(cursor, request["canonical_id"]))
        clear = {e["seq"]: e for e in queries.rows(cursor, "requests", "events", request_id=request["request_id"])}
    events = [clear[e.seq] | {"data": _data(clear[e.seq], e.fields)} for e in held if e.seq in clear]
    told = [e for e in events if e["type"] == "recipient_notified"]
    return request | {
        "events": events,
        "recipients": [
            {
                "recipient": e["data"]["recipient"],
                "about": e["data"]["about"],
                "acknowledged": e["data"].get("acknowledged", False),
                "occurred_at": e["occurred_at"],
                "seq": e["seq"],
            }
            for e in told
        ],
        "carried_out_by": carried_out_by(request),
    }


def _data(clear: Row, fields: str | None) -> Row:
    """What the event says beyond its envelope."""
    personal = orjson.loads(fields) if fields else {}
    data = orjson.loads(clear.pop("matter"))
    envelope = ("actor_kind", "actor", "interaction", "identifiers", "source", "channel", "correlation")
    return {k: v for k, v in (data | personal).items() if k not in envelope}


def carried_out_by(request: Row) -> str:
    """The command that does what the request asks for. To answer it is one thing, to close it another."""
    id_, request_id = request["candidate_id"], request["request_id"]
    match RequestKind(request["asks_for"]):
        case RequestKind.ACCESS | RequestKind.PORTABILITY:
            return f"rapport export {id_} -o DIR --request {request_id}"
        case RequestKind.ERASURE:
            return f"rapport erase {id_} --ground GROUND --request {request_id}"
        case RequestKind.RECTIFICATION:
            return _interaction("profile_corrected", id_, {"last_name": "…"})
        case RequestKind.RESTRICTION:
            return _interaction("restricted", id_, {"ground": "accuracy_contested", "request": request_id})
        case RequestKind.OBJECTION:
            return _interaction("opted_out", id_, {"right": "art_21"})


def _interaction(type_: str, id_: str, data: Row) -> str:
    document = {"type": type_, "candidate": {"id": id_}, "occurred_at": utc_now().isoformat(), "data": data}
    return f"echo {shlex.quote(orjson.dumps(document).decode())} | rapport import -"


def _on(node: Node, request: Row, type_: str, occurred_at: datetime, actor: str, data: Row) -> Outcome:
    if occurred_at < min(request["received_at"], utc_now()):
        raise RequestRefused(
            f"the request came in at {request['received_at'].isoformat()}, and nothing became of it before that; "
            "correct the time"
        )
    return _record(node, type_, {"id": request["candidate_id"]}, occurred_at, actor, data)


def _record(
    node: Node, type_: str, candidate: Row, occurred_at: datetime, actor: str, data: Row, **envelope: str | None
) -> Outcome:
    document = {
        "type": type_,
        "candidate": candidate,
        "occurred_at": occurred_at.isoformat(),
        "actor": actor,
        "data": {k: v for k, v in data.items() if v is not None},
    }
    document |= {k: v for k, v in envelope.items() if v is not None}
    (outcome,) = node.recording.record([parse(document)], facts=True)
    return outcome


def as_of_then(cursor: DuckDBPyConnection, as_of: datetime | None) -> None:
    """Plain views answer this cursor for then; for now if None."""
    if as_of is not None:
        cursor.execute("set variable as_of = $1::timestamptz", [as_of])
