"""Compliance: the consent trail, straight from the ledger."""

from typing import Any

from fastapi import APIRouter

from api.http import rendering
from api.http.parameters import AsOf, CandidateId, KnownAt, NodeUpToDate
from domain.event import Purpose
from domain.policy import DEFAULT_PURPOSE, Channel
from domain.trail import trail

router = APIRouter(prefix="/v1/compliance", tags=["compliance"])


@router.get("/candidates/{ref:path}/trail", summary="Replay one person's consent trail")
def consent_trail(
    candidate: CandidateId,
    node: NodeUpToDate,
    as_of: AsOf,
    known_at: KnownAt = None,
) -> dict[str, Any]:
    """Every event that bears on consent, from the ledger itself, with the standing each led to."""
    histories = node.histories(candidate)
    return rendering.trail(trail(candidate, histories, as_of, known_at))


@router.get("/candidates/{ref:path}/contactability", summary="May this person be contacted?")
def contactability(
    candidate: CandidateId,
    node: NodeUpToDate,
    as_of: AsOf,
    channel: Channel,
    purpose: Purpose = DEFAULT_PURPOSE,
    known_at: KnownAt = None,
) -> dict[str, Any]:
    """Yes or no, the state it rests on and the event that decides, from the ledger itself."""
    held = node.standing(candidate, channel, purpose, as_of, known_at)
    return {
        "candidate": node.forest_of(candidate).canonical(candidate),
        "channel": channel,
        "purpose": purpose,
        "as_of": as_of.isoformat(),
        "known_at": known_at,
        "contactable": held.contactable,
        "status": str(held.status),
        "because_seq": held.because_seq,
    }
