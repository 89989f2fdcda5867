"""Candidates: who they are, what happened with them, and which records are one person."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.http.interactions import record_all
from api.http.parameters import AsOf, CandidateId, Cursor, KnownAt, NodeUpToDate, canonical_of
from api.http.problems import STATUS, problem
from api.http.reads import WRITES, reads
from api.references import reference_of
from domain.access import Read
from domain.event import Name, UtcDatetime, utc_now
from domain.interaction import DEFAULT_ACTOR
from infra.recording import Accepted, Duplicate, Outcome
from projections import queries

router = APIRouter(tags=["candidates"])


@router.get(
    "/v1/candidates/{ref:path}/timeline",
    summary="Everything that happened with one person",
    openapi_extra=reads(Read.TIMELINE),
)
def timeline(
    candidate: CandidateId,
    cursor: Cursor,
    as_of: AsOf,
    known_at: KnownAt = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before_seq: Annotated[int | None, Query(description="continue before this event")] = None,
) -> dict[str, Any]:
    """Newest first; `next_before_seq` continues where this page ends."""
    canonical = canonical_of(cursor, candidate)
    rows = queries.timeline(cursor, canonical, as_of, known_at, limit, before_seq)
    more = rows[-1]["seq"] if len(rows) == limit else None
    return {"candidate": canonical, "events": rows, "next_before_seq": more}


class UnmergeRequest(BaseModel):
    """Who takes the merge back, and when; now if unset."""

    model_config = ConfigDict(extra="forbid")

    actor: Name = DEFAULT_ACTOR
    occurred_at: UtcDatetime = Field(default_factory=utc_now)


class MergeRequest(UnmergeRequest):
    """Which candidate stands for both from now on."""

    into: Name = Field(description="reference of the candidate to merge into")


@router.post("/v1/candidates/{ref:path}/merge", summary="Two records are one person", openapi_extra=WRITES)
def merge(candidate: CandidateId, request: MergeRequest, node: NodeUpToDate) -> JSONResponse:
    """Records `merged` on the record `ref` names; nothing is copied or lost, and it can be undone."""
    into = node.recording.resolve(reference_of(request.into))
    return _record(node, candidate, "merged", request, {"into": {"id": into}})


@router.post("/v1/candidates/{ref:path}/unmerge", summary="The merge was a mistake", openapi_extra=WRITES)
def unmerge(candidate: CandidateId, request: UnmergeRequest, node: NodeUpToDate) -> JSONResponse:
    """Both records stand for themselves again, exactly as without the merge."""
    return _record(node, candidate, "unmerged", request, {})


@router.get(
    "/v1/candidates/{ref:path}",
    summary="One person's profile, over all their records",
    openapi_extra=reads(Read.PROFILE),
)
def show(candidate: CandidateId, cursor: Cursor) -> dict[str, Any]:
    """The profile as it stands, with tags, identifiers and the records it is made of."""
    return queries.profile(cursor, canonical_of(cursor, candidate)) or {}


def _record(
    node: NodeUpToDate, candidate: str, type_: str, request: UnmergeRequest, data: dict[str, Any]
) -> JSONResponse:
    document = {
        "type": type_,
        "candidate": {"id": candidate},
        "occurred_at": request.occurred_at.isoformat(),
        "actor": request.actor,
    }
    (outcome,) = record_all(node, [document | {"data": data}], facts=True)
    return _answer(outcome)


def _answer(outcome: Outcome) -> JSONResponse:
    match outcome:
        case Accepted(candidate_id=id_, seq=seq):
            return JSONResponse({"status": "accepted", "candidate": id_, "seq": seq}, 201)
        case Duplicate(candidate_id=id_):
            return JSONResponse({"status": "duplicate", "candidate": id_})
    return problem(STATUS.get(outcome.code, 409), outcome.code, outcome.reason)
