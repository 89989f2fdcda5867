"""Engagement: how warm a relationship is, and why."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from api.http.answers import answers
from api.http.answers.relationships import Engagement, Ranking, WhatIfRanking
from api.http.asking import AskedFirst
from api.http.callers import Caller, Calling
from api.http.paging import NOWHERE, NoSuchPlace
from api.http.parameters import (
    WAIT_S,
    AsOf,
    CandidateId,
    Cursor,
    KnownAt,
    NodeUpToDate,
    canonical_of,
    come_again,
    looking,
)
from api.http.reads import Noting, reads, reads_nothing
from api.http.roles import EVERY_ROLE, PERSON, Role
from api.node import ViewsBehind
from domain.access import Read
from domain.engagement import MAX_TOML_CHARS, V1, EngagementModel
from domain.errors import UnresolvedCandidate
from domain.event import UtcDatetime, utc_now
from projections import queries
from projections.what_if import what_if

VIEWS = ("engagement_score", "profile")
NAMES = ("first_name", "last_name")

router = APIRouter(route_class=AskedFirst, tags=["engagement"])


class WhatIf(BaseModel):
    """Another model, as TOML in the form of `GET /v1/engagement/model`, and how much of its ranking is wanted."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(max_length=MAX_TOML_CHARS)]
    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    as_of: UtcDatetime | None = None


@router.get(
    "/v1/engagement",
    summary="The warmest relationships at a moment",
    openapi_extra=reads(Read.RANKING) | EVERY_ROLE,
    responses=answers(Ranking),
)
def top(
    node: NodeUpToDate,
    cursor: Cursor,
    seen: Noting,
    caller: Calling,
    as_of: AsOf,
    known_at: KnownAt = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    after: Annotated[
        str | None, Query(description="`next` of the page before, with its `as_of`", pattern="^[0-9a-f]{32}$")
    ] = None,
) -> dict[str, Any]:
    """By score, highest first. An analyst is shown no names."""
    with looking(node, cursor, known_at, VIEWS) as then:
        found = queries.engagement_top(then, as_of, limit + 1, after)
        rows = found[:limit]
        if after is not None and not found and not _is_ranked(queries.engagement_score(then, after, as_of)):
            raise NoSuchPlace(NOWHERE)
    seen.persons(row["canonical_id"] for row in rows)
    return {
        "as_of": as_of.isoformat(),
        "known_at": known_at,
        "candidates": _shown(rows, caller),
        "next": rows[-1]["canonical_id"] if len(found) > limit else None,
    }


@router.get(
    "/v1/engagement/model",
    summary="The engagement model in force",
    response_class=PlainTextResponse,
    openapi_extra=reads_nothing("weights") | EVERY_ROLE,
)
def model() -> str:
    """As TOML, to change for a what-if."""
    return V1


@router.post(
    "/v1/engagement/what-if",
    summary="The ranking that another model would give",
    openapi_extra=reads(Read.RANKING) | EVERY_ROLE,
    responses=answers(WhatIfRanking),
)
def compare(request: WhatIf, node: NodeUpToDate, seen: Noting, caller: Calling) -> dict[str, Any]:
    """Beside the ranks and scores of the model in force, which stays as it is. An analyst is shown no names."""
    other = EngagementModel.from_toml(request.model)
    as_of = request.as_of or utc_now()
    with come_again():
        rows = what_if(node.projector, other, as_of, request.limit, wait_s=WAIT_S)
    seen.persons(row["canonical_id"] for row in rows)
    return {"as_of": as_of.isoformat(), "model": other.version, "candidates": _shown(rows, caller)}


@router.get(
    "/v1/engagement/{ref:path}",
    summary="One person's score at a moment",
    openapi_extra=reads(Read.EXPLANATION) | PERSON,
    responses=answers(Engagement),
)
def show(
    candidate: CandidateId,
    node: NodeUpToDate,
    cursor: Cursor,
    as_of: AsOf,
    known_at: KnownAt = None,
    explain: Annotated[bool, Query(description="every event and what it adds")] = False,
) -> dict[str, Any]:
    """The score as of `as_of`; with `explain`, each event, whether it counts, why, and what it is worth by then."""
    with looking(node, cursor, known_at, VIEWS, candidate) as then:
        canonical = queries.canonical(then, candidate) if known_at else canonical_of(then, candidate)
        if canonical is None:
            raise UnresolvedCandidate("nothing was known of this candidate then")
        score = queries.engagement_score(then, canonical, as_of)
        if score is None:
            raise ViewsBehind("the views do not hold this candidate yet; ask with ?min_seq= or try again shortly")
        return score | ({"events": queries.engagement_explain(then, canonical, as_of)} if explain else {})


def _is_ranked(score: dict[str, Any] | None) -> bool:
    return score is not None and score["flag"] != "restricted"


def _shown(rows: list[dict[str, Any]], caller: Caller) -> list[dict[str, Any]]:
    if caller.role is not Role.ANALYST:
        return rows
    return [{name: value for name, value in row.items() if name not in NAMES} for row in rows]
