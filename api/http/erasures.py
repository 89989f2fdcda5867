"""Erasure (Art. 17 GDPR): a person is made unreadable for good, everywhere the node keeps anything of them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.http.parameters import NodeUpToDate
from api.http.problems import problem
from api.http.reads import WRITES, reads, reads_nothing
from api.references import reference_of
from domain.access import Read
from domain.errors import ErasedCandidate, UnreadableCandidate
from domain.event import HexId, Name
from domain.interaction import DEFAULT_ACTOR
from domain.policy import ErasureGround
from infra.erasing import Erasure

router = APIRouter(prefix="/v1/compliance/erasures", tags=["compliance"])

NOBODY = reads_nothing("nothing in it says who the person was")

ErasureId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="id of the erasure")]


class Asked(BaseModel):
    """Who is to be erased, and why."""

    model_config = ConfigDict(extra="forbid")

    candidate: Annotated[str, Field(description="id, email, +phone, profile link or system:key")]
    ground: ErasureGround
    by: Name = DEFAULT_ACTOR
    request: HexId | None = None


@router.post("", summary="Erase a person, for good", openapi_extra=WRITES)
def erase(asked: Asked, node: NodeUpToDate) -> dict[str, Any]:
    """With every record merged with theirs. When this answers nothing can be read of them any more; the file is written
    anew and the certificate issued soon after (`certified`). Asking again changes nothing.
    """
    reference = reference_of(asked.candidate)
    try:
        candidate_id = node.recording.resolve(reference)
    except UnreadableCandidate:
        if reference.id is None:
            raise
        candidate_id = reference.id
    except ErasedCandidate:
        if reference.id is None or node.erasing.of(reference.id) is None:
            raise
        candidate_id = reference.id
    return _shown(node.erasing.erase(candidate_id, asked.ground, asked.by, asked.request))


@router.get("", summary="The erasures there were", openapi_extra=NOBODY)
def list_(node: NodeUpToDate) -> dict[str, Any]:
    """Newest first. Nothing in them says who the persons were."""
    return {"erasures": [_shown(erasure) for erasure in reversed(node.erasures.all())]}


@router.get("/{erasure_id}", summary="One erasure, and how far it has come", openapi_extra=NOBODY)
def show(erasure_id: ErasureId, node: NodeUpToDate) -> Any:
    """Its steps with their times."""
    erasure = node.erasures.get(erasure_id)
    return _unknown() if erasure is None else _shown(erasure)


@router.get(
    "/{erasure_id}/certificate",
    summary="The certificate of an erasure, signed",
    response_class=Response,
    openapi_extra=reads(Read.CERTIFICATE),
)
def certificate(erasure_id: ErasureId, node: NodeUpToDate) -> Response:
    """A signed note (C2SP) of what was erased, where, when and by whom."""
    erasure = node.erasures.get(erasure_id)
    if erasure is None:
        return _unknown()
    path = node.erasing.certificate_of(erasure)
    if not path.exists():
        if erasure.is_done:
            return problem(404, "issued-elsewhere", "another node has issued this certificate")
        return problem(409, "not-certified", "it is not finished yet; ask again in a minute", {"Retry-After": "60"})
    return PlainTextResponse(path.read_text("utf-8"))


def _unknown() -> Response:
    return problem(404, "unknown-erasure", "there is no erasure of this id; GET /v1/compliance/erasures lists them")


def _shown(erasure: Erasure) -> dict[str, Any]:
    return {
        "erasure": erasure.id,
        "candidate": erasure.candidate_id,
        "ground": erasure.ground,
        "by": erasure.by,
        "request": erasure.request,
        "requested_at": erasure.requested_at.isoformat(),
        "records": [record.model_dump() for record in erasure.records],
        "identifiers_suppressed": len(erasure.hashes),
        "steps": {step: at.isoformat() for step, at in erasure.steps.items()},
        "certified": erasure.is_done,
    }
