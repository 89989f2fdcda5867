"""Candidates: who they are, what happened with them, and which records are one person."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.failures import ViewsBehind
from api.http.answers import answers, recorded_or_known
from api.http.answers.relationships import Profile, Recorded, Timeline
from api.http.asking import AskedFirst
from api.http.callers import Caller, Calling
from api.http.interactions import record_all
from api.http.once import TAKES_KEY
from api.http.parameters import AsOf, CandidateId, Cursor, KnownAt, NodeUpToDate, canonical_of
from api.http.problems import STATUS, problem
from api.http.reads import WRITES, reads
from api.http.roles import PERSON
from api.references import reference_of
from domain.access import Read
from domain.event import Name, UtcDatetime, utc_now
from domain.interaction import DEFAULT_ACTOR
from infra.recording import Accepted, Duplicate, Outcome
from projections import queries

router = APIRouter(route_class=AskedFirst, tags=["candidates"])


@router.get(
    "/v1/candidates/{ref:path}/timeline",
    summary="Everything that happened with one person",
    openapi_extra=reads(Read.TIMELINE) | PERSON,
    responses=answers(Timeline),
)
def timeline(
    candidate: CandidateId,
    cursor: Cursor,
    as_of: AsOf,
    known_at: KnownAt = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int | None, Query(description="`next` of the page before", ge=1, le=2**53)] = None,
) -> dict[str, Any]:
    """Newest first."""
    canonical = canonical_of(cursor, candidate)
    rows = queries.timeline(cursor, canonical, as_of, known_at, limit, after)
    more = rows[-1]["seq"] if len(rows) == limit else None
    return {"candidate": canonical, "events": rows, "next": more}


class UnmergeRequest(BaseModel):
    """Who takes the merge back, and when; now if unset."""

    model_config = ConfigDict(extra="forbid")

    actor: Name = DEFAULT_ACTOR
    occurred_at: UtcDatetime = Field(default_factory=utc_now)


class MergeRequest(UnmergeRequest):
    """Which candidate stands for both from now on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"into": "greenhouse:123"}]})

    into: Name = Field(description="reference of the candidate to merge into")


@router.post(
    "/v1/candidates/{ref:path}/merge",
    summary="Two records are one person",
    openapi_extra=WRITES | PERSON | TAKES_KEY,
    responses=recorded_or_known(Recorded),
)
def merge(candidate: CandidateId, request: MergeRequest, node: NodeUpToDate, caller: Calling) -> JSONResponse:
    """Records `merged` on the record `ref` names; nothing is copied or lost, and it can be undone."""
    into = node.recording.resolve(reference_of(request.into))
    return _record(node, caller, candidate, "merged", request, {"into": {"id": into}})


@router.post(
    "/v1/candidates/{ref:path}/unmerge",
    summary="The merge was a mistake",
    openapi_extra=WRITES | PERSON | TAKES_KEY,
    responses=recorded_or_known(Recorded),
)
def unmerge(candidate: CandidateId, request: UnmergeRequest, node: NodeUpToDate, caller: Calling) -> JSONResponse:
    """Both records stand for themselves again, exactly as without the merge."""
    return _record(node, caller, candidate, "unmerged", request, {})


@router.get(
    "/v1/candidates/{ref:path}",
    summary="One person's profile, over all their records",
    openapi_extra=reads(Read.PROFILE) | PERSON,
    responses=answers(Profile),
)
def show(candidate: CandidateId, cursor: Cursor) -> dict[str, Any]:
    """The profile as it stands, with tags, identifiers and the records it is made of."""
    if (found := queries.profile(cursor, canonical_of(cursor, candidate))) is None:
        raise ViewsBehind("the views do not hold this candidate yet")
    return found


def _record(
    node: NodeUpToDate, caller: Caller, candidate: str, type_: str, request: UnmergeRequest, data: dict[str, Any]
) -> JSONResponse:
    document = {
        "type": type_,
        "candidate": {"id": candidate},
        "occurred_at": request.occurred_at.isoformat(),
        "actor": request.actor,
    }
    (outcome,) = record_all(node, [document | {"data": data}], caller, facts=True)
    return _answer(outcome)


def _answer(outcome: Outcome) -> JSONResponse:
    match outcome:
        case Accepted(candidate_id=id_, seq=seq):
            return JSONResponse({"status": "accepted", "candidate": id_, "seq": seq}, 201)
        case Duplicate(candidate_id=id_):
            return JSONResponse({"status": "duplicate", "candidate": id_})
    return problem(STATUS.get(outcome.code, 409), outcome.code, outcome.reason)
