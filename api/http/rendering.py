"""Domain answers as JSON documents."""

from typing import Any

from domain.candidate import CandidateEvent
from domain.consent import Standing
from domain.event import personal_fields
from domain.trail import Cell, Step, Trail

_ENVELOPE = {"occurred_at", "actor", "actor_kind", "source", "channel", "interaction", "correlation", "identifiers"}


def cell(of: Cell, held: Standing) -> dict[str, Any]:
    """One cell of standing; channel `*` is any channel that nobody named."""
    return {
        "channel": of.channel.value if of.channel else "*",
        "purpose": of.purpose,
        "contactable": held.contactable,
        "status": str(held.status),
        "because_seq": held.because_seq,
    }


def trail(found: Trail) -> dict[str, Any]:
    """A consent trail, events in the order in which they happened."""
    return {
        "candidate": found.candidate_id,
        "records": list(found.records),
        "as_of": found.as_of.isoformat(),
        "known_at": found.known_at.isoformat() if found.known_at else None,
        "events": [_step(s) for s in found.steps],
        "standing": [cell(c, s) for c, s in found.standing],
    }


def _step(step: Step) -> dict[str, Any]:
    recorded = step.recorded
    event = recorded.event
    return {
        "seq": recorded.seq,
        "record": recorded.id,
        "version": recorded.version,
        "type": event.type,
        "occurred_at": event.occurred_at.isoformat(),
        "recorded_at": recorded.recorded_at.isoformat(),
        "actor": event.actor,
        "source": event.source,
        "channel": event.channel,
        "interaction": event.interaction,
        "data": _data(event),
        "state": [cell(c, s) for c, s in step.state],
    }


def _data(event: CandidateEvent) -> dict[str, Any]:
    """What the event says beyond its envelope; of a profile, only what is not about looks in a trail."""
    hidden = _ENVELOPE | (set(personal_fields(type(event))) - {"evidence", "message"})
    return {k: v for k, v in event.model_dump(mode="json", exclude_none=True).items() if k not in hidden}
