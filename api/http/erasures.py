"""Erasure (Art. 17 GDPR): a person is made unreadable for good, everywhere the node keeps anything of them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.http.answers import answers
from api.http.answers import compliance as described
from api.http.asking import AskedFirst
from api.http.callers import Calling
from api.http.paging import After, Limit, page
from api.http.parameters import NodeUpToDate
from api.http.problems import problem
from api.http.reads import WRITES, reads, reads_nothing
from api.http.roles import OFFICERS
from api.node import Node
from api.references import reference_of
from domain.access import Read
from domain.errors import UnreadableCandidate
from domain.event import HexId, Name
from domain.interaction import DEFAULT_ACTOR, Reference
from domain.policy import ErasureGround
from infra.erasing import Erasure

router = APIRouter(route_class=AskedFirst, prefix="/v1/compliance/erasures", tags=["compliance"])

NOBODY = reads_nothing("nothing in it says who the person was")

ErasureId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="id of the erasure")]


class Asked(BaseModel):
    """Who is to be erased, and why."""

    model_config = ConfigDict(extra="forbid")

    candidate: Annotated[
        str,
        Field(
            description="id, email, +phone, profile link or system:key; of the erased: a record's id or the erasure's"
        ),
    ]
    ground: Annotated[ErasureGround | None, Field(description="may be left out for somebody who was erased")] = None
    by: Name = DEFAULT_ACTOR
    request: HexId | None = None
    purge: Annotated[bool, Field(description="remove the stored bodies of the events as well; hashes remain")] = False


@router.post(
    "", summary="Erase a person, for good", openapi_extra=WRITES | OFFICERS, responses=answers(described.Erasure)
)
def erase(asked: Asked, node: NodeUpToDate, caller: Calling) -> Any:
    """With every record merged with theirs. When this answers nothing can be read of them any more; the bodies are
    removed where that is asked for (`purge`), the file is written anew and the certificate issued soon after
    (`certified`). Asking again changes nothing, but for a purge that was not asked for before.
    """
    candidate_id, earlier = _record(node, reference_of(asked.candidate))
    ground = asked.ground if earlier is None else earlier.ground
    if ground is None:
        return problem(422, "invalid-request", f"ground: say why, as one of {', '.join(ErasureGround)}")
    by = caller.acting(asked.by)
    return _shown(node.erasing.erase(candidate_id, ground, by, asked.request, purge=asked.purge))


@router.get(
    "", summary="The erasures there were", openapi_extra=NOBODY | OFFICERS, responses=answers(described.Erasures)
)
def list_(node: NodeUpToDate, limit: Limit = 1_000, after: After = None) -> dict[str, Any]:
    """Newest first. Nothing in them says who the persons were."""
    rows, more = page([_shown(erasure) for erasure in reversed(node.erasures.all())], "erasure", limit, after)
    return {"erasures": rows, "next": more}


@router.get(
    "/{erasure_id}",
    summary="One erasure, and how far it has come",
    openapi_extra=NOBODY | OFFICERS,
    responses=answers(described.Erasure),
)
def show(erasure_id: ErasureId, node: NodeUpToDate) -> Any:
    """Its steps with their times."""
    erasure = node.erasures.get(erasure_id)
    return _unknown() if erasure is None else _shown(erasure)


@router.get(
    "/{erasure_id}/certificate",
    summary="The certificate of an erasure, signed",
    response_class=Response,
    openapi_extra=reads(Read.CERTIFICATE) | OFFICERS,
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


def _record(node: Node, reference: Reference) -> tuple[str, Erasure | None]:
    """The record that is meant, and the erasure of the person if there was one."""
    earlier = None
    if reference.id is not None:
        earlier = node.erasures.get(reference.id) or node.erasing.of(reference.id)
    if earlier is not None:
        return earlier.candidate_id, earlier
    try:
        return node.recording.resolve(reference), None
    except UnreadableCandidate:
        if reference.id is None:
            raise
        return reference.id, None


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
        "purge": erasure.purge,
        "bodies_removed": sum(record.bodies for record in erasure.records),
        "steps": {step: at.isoformat() for step, at in erasure.steps.items()},
        "certified": erasure.is_done,
    }
