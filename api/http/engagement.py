"""Engagement: how warm a relationship is, and why."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.http.parameters import AsOf, CandidateId, Cursor, canonical_of
from api.node import ViewsBehind
from projections import queries

router = APIRouter(tags=["engagement"])


@router.get("/v1/engagement", summary="The warmest relationships at a moment")
def top(cursor: Cursor, as_of: AsOf, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> dict[str, Any]:
    """By score, highest first."""
    return {"as_of": as_of.isoformat(), "candidates": queries.engagement_top(cursor, as_of, limit)}


@router.get("/v1/engagement/{ref:path}", summary="One person's score at a moment")
def show(
    candidate: CandidateId,
    cursor: Cursor,
    as_of: AsOf,
    explain: Annotated[bool, Query(description="every event and what it adds")] = False,
) -> dict[str, Any]:
    """The score as of `as_of`; with `explain`, each event, whether it counts, why, and what it is worth by then."""
    canonical = canonical_of(cursor, candidate)
    score = queries.engagement_score(cursor, canonical, as_of)
    if score is None:
        raise ViewsBehind("the views do not hold this candidate yet; ask with ?min_seq= or try again shortly")
    return score | ({"events": queries.engagement_explain(cursor, canonical, as_of)} if explain else {})
