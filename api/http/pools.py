"""Pools: who is in, who was in, by rule and by hand."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.http.parameters import AsOf, Cursor, KnownAt, NodeUpToDate, looking
from api.http.reads import WRITES, Noting, reads
from api.node import Node
from api.references import reference_of
from domain import pool
from domain.access import Read
from domain.event import Name, Text, UtcDatetime, utc_now
from domain.interaction import DEFAULT_ACTOR
from domain.rule import EMPTY, Rule
from projections import queries

router = APIRouter(tags=["pools"])


def _in_a_path(name: str) -> str:
    """A second `pattern` would take the place of the one that a `Name` has."""
    if "/" in name or not name.strip(". "):
        raise ValueError("a pool is named in paths; leave out '/', and do not name it with dots alone")
    return name


class ByWhom(BaseModel):
    """Who acts, and since when it holds; now if unset."""

    model_config = ConfigDict(extra="forbid")

    actor: Name = DEFAULT_ACTOR
    occurred_at: UtcDatetime = Field(default_factory=utc_now)


class NewPool(ByWhom):
    """A pool to be; without a rule it holds pinned candidates only."""

    name: Annotated[Name, AfterValidator(_in_a_path)]
    description: Text | None = None
    rule: Rule = EMPTY


class NewRule(ByWhom):
    """The rule that takes the place of the one in force."""

    rule: Rule


class NewPlace(ByWhom):
    """Where one candidate is put by hand."""

    place: Literal["pinned", "unpinned", "excluded"]


@router.get("/v1/pools", summary="All pools with their size", openapi_extra=reads(Read.POOLS))
def list_pools(node: NodeUpToDate, cursor: Cursor, as_of: AsOf, known_at: KnownAt = None) -> dict[str, Any]:
    """Archived ones included; they are empty from then on."""
    with looking(node, cursor, known_at, ("pools", "pool_membership")) as then:
        return {"as_of": as_of.isoformat(), "known_at": known_at, "pools": queries.pools(then, as_of)}


@router.post("/v1/pools", summary="Create a pool", status_code=201, openapi_extra=WRITES)
def create(request: NewPool, node: NodeUpToDate) -> dict[str, Any]:
    """Names are unique without regard to case."""
    event = pool.Created(
        occurred_at=request.occurred_at,
        actor=request.actor,
        name=request.name,
        description=request.description,
        rule=request.rule,
    )
    pool_id, seq = node.pools.create(event)
    return {"pool": pool_id, "seq": seq}


@router.get("/v1/pools/{pool}/members", summary="Who was in at a moment", openapi_extra=reads(Read.MEMBERS))
def members(
    pool: str, node: NodeUpToDate, cursor: Cursor, seen: Noting, as_of: AsOf, known_at: KnownAt = None
) -> dict[str, Any]:
    """Members as of `as_of`, with when they joined and the event that let them in."""
    pool_id = node.pools.resolve(pool)
    with looking(node, cursor, known_at, ("pool_membership", "profile")) as then:
        rows = queries.members(then, pool_id, as_of)
    seen.persons(row["canonical_id"] for row in rows)
    return {
        "pool": pool_id,
        "as_of": as_of.isoformat(),
        "known_at": known_at,
        "count": len(rows),
        "members": rows,
    }


@router.put("/v1/pools/{pool}/rule", summary="Another rule from now on", openapi_extra=WRITES)
def change_rule(pool: str, request: NewRule, node: NodeUpToDate) -> JSONResponse:
    """Who was in under the old rule stays in the history."""
    return _change(node, pool, request, "rule_changed", rule=request.rule)


@router.post(
    "/v1/pools/{pool}/archive", summary="Everybody leaves; the pool takes no more changes", openapi_extra=WRITES
)
def archive(pool: str, request: ByWhom, node: NodeUpToDate) -> JSONResponse:
    """Archiving again changes nothing."""
    return _change(node, pool, request, "archived")


@router.put(
    "/v1/pools/{pool}/candidates/{ref:path}", summary="Pin, unpin or exclude one candidate", openapi_extra=WRITES
)
def place(pool: str, ref: str, request: NewPlace, node: NodeUpToDate) -> JSONResponse:
    """By hand, whatever the rule says; `unpinned` leaves it to the rule again."""
    candidate = node.recording.resolve(reference_of(ref))
    return _change(node, pool, request, f"candidate_{request.place}", candidate=candidate)


def _change(node: Node, name: str, request: ByWhom, type_: str, **data: Any) -> JSONResponse:
    event = pool.EVENTS[type_](occurred_at=request.occurred_at, actor=request.actor, **data)
    pool_id, seq = node.pools.change(name, event)
    return JSONResponse({"pool": pool_id, "seq": seq, "status": "accepted" if seq else "unchanged"})
