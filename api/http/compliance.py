"""Compliance: the consent trail, straight from the ledger."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from api.histories import now_of_any
from api.http import rendering
from api.http.answers import answers
from api.http.answers.compliance import ConsentRecords, Contactability, Evidence, Trail
from api.http.asking import AskedFirst
from api.http.consent_record import consent_records
from api.http.parameters import AsOfOrNow, CandidateId, KnownAt, NodeUpToDate
from api.http.reads import Noting, reads
from api.http.roles import OFFICERS, PERSON
from api.proof import evidence_of
from api.references import reference_of
from domain.access import Read
from domain.errors import ErasedCandidate, UnreadableCandidate
from domain.event import Purpose
from domain.policy import DEFAULT_PURPOSE, Channel
from domain.trail import trail

router = APIRouter(route_class=AskedFirst, prefix="/v1/compliance", tags=["compliance"])


@router.get(
    "/candidates/{ref:path}/trail",
    summary="Replay one person's consent trail",
    openapi_extra=reads(Read.TRAIL) | OFFICERS,
    responses=answers(Trail | ConsentRecords),
)
def consent_trail(
    candidate: CandidateId,
    node: NodeUpToDate,
    as_of: AsOfOrNow = None,
    known_at: KnownAt = None,
    form: Annotated[
        Literal["rapport", "ts27560"],
        Query(alias="format", description="ts27560: consent records by ISO/IEC TS 27560, in W3C DPV's terms"),
    ] = "rapport",
) -> dict[str, Any]:
    """Every event that bears on consent, from the ledger itself, with the standing each led to."""
    histories = node.histories(candidate)
    found = trail(candidate, histories, as_of or now_of_any(histories), known_at)
    return rendering.trail(found) if form == "rapport" else consent_records(found)


@router.get(
    "/candidates/{ref:path}/evidence",
    summary="Prove one person's consent trail to an outsider",
    openapi_extra=reads(Read.EVIDENCE) | OFFICERS,
    responses=answers(Evidence),
)
def evidence(
    node: NodeUpToDate,
    seen: Noting,
    ref: Annotated[str, Path(description="id, email, +phone, profile link or system:key; of an erased person the id")],
    as_of: AsOfOrNow = None,
    known_at: KnownAt = None,
) -> Response:
    """The evidence file: stored bytes, inclusion proofs, signed checkpoint. `docs/proof.md` says what it shows."""
    reference = reference_of(ref)
    try:
        candidate_id = node.recording.resolve(reference)
    except (ErasedCandidate, UnreadableCandidate):
        if reference.id is None:
            raise
        candidate_id = reference.id  # the envelope still proves
    seen.person(candidate_id)
    content = evidence_of(node, candidate_id, as_of, known_at)
    headers = {"Content-Disposition": f'attachment; filename="evidence-{candidate_id}.json"'}
    return Response(content, media_type="application/json", headers=headers)


@router.get(
    "/candidates/{ref:path}/contactability",
    summary="May this person be contacted?",
    openapi_extra=reads(Read.CONTACTABILITY) | PERSON,
    responses=answers(Contactability),
)
def contactability(
    candidate: CandidateId,
    node: NodeUpToDate,
    channel: Channel,
    purpose: Purpose = DEFAULT_PURPOSE,
    as_of: AsOfOrNow = None,
    known_at: KnownAt = None,
) -> dict[str, Any]:
    """Yes or no, the state it rests on and the event that decides, from the ledger itself."""
    held, at = node.standing(candidate, channel, purpose, as_of, known_at)
    return {
        "candidate": node.forest_of(candidate).canonical(candidate),
        "channel": channel,
        "purpose": purpose,
        "as_of": at.isoformat(),
        "known_at": known_at,
        "contactable": held.contactable,
        "status": str(held.status),
        "because_seq": held.because_seq,
    }
