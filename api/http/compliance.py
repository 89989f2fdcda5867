"""Compliance: the consent trail, straight from the ledger."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.http import rendering
from api.http.parameters import AsOf, CandidateId, NodeUpToDate
from domain.event import Purpose, UtcDatetime
from domain.policy import DEFAULT_PURPOSE, Channel
from domain.trail import trail

router = APIRouter(prefix="/v1/compliance", tags=["compliance"])


@router.get("/candidates/{ref:path}/trail", summary="Replay one person's consent trail")
def consent_trail(
    candidate: CandidateId,
    node: NodeUpToDate,
    as_of: AsOf,
    known_at: Annotated[UtcDatetime | None, Query(description="what the ledger held then")] = None,
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
) -> dict[str, Any]:
    """Yes or no, the state it rests on and the event that decides, from the ledger itself."""
    held = node.standing(candidate, channel, purpose, as_of)
    return {
        "candidate": node.forest_of(candidate).canonical(candidate),
        "channel": channel,
        "purpose": purpose,
        "as_of": as_of.isoformat(),
        "contactable": held.contactable,
        "status": str(held.status),
        "because_seq": held.because_seq,
    }
