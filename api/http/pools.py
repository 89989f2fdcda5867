"""Pools: who is in, who was in, by rule and by hand."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.http.parameters import AsOf, Cursor, NodeUpToDate
from api.references import reference_of
from domain import pool
from domain.event import Name, Text, UtcDatetime, utc_now
from domain.interaction import DEFAULT_ACTOR
from domain.pool import PoolEvent
from domain.rule import EMPTY, Rule
from projections import queries

router = APIRouter(tags=["pools"])


class NewPool(BaseModel):
    """A pool to be; without a rule it holds pinned candidates only. `occurred_at` says since when its rule holds."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    description: Text | None = None
    rule: Rule = EMPTY
    actor: Name = DEFAULT_ACTOR
    occurred_at: UtcDatetime = Field(default_factory=utc_now)


@router.get("/v1/pools", summary="All pools with their size")
def list_pools(cursor: Cursor, as_of: AsOf) -> dict[str, Any]:
    """Archived ones included; they are empty from then on."""
    return {"as_of": as_of.isoformat(), "pools": queries.pools(cursor, as_of)}


@router.post("/v1/pools", summary="Create a pool", status_code=201)
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


@router.get("/v1/pools/{pool}/members", summary="Who was in at a moment")
def members(pool: str, node: NodeUpToDate, cursor: Cursor, as_of: AsOf) -> dict[str, Any]:
    """Members as of `as_of`, with when they joined and the event that let them in."""
    pool_id = node.pools.resolve(pool)
    rows = queries.members(cursor, pool_id, as_of)
    return {"pool": pool_id, "as_of": as_of.isoformat(), "count": len(rows), "members": rows}


@router.put("/v1/pools/{pool}/rule", summary="Another rule from now on")
def change_rule(pool: str, rule: Rule, node: NodeUpToDate) -> JSONResponse:
    """Who was in under the old rule stays in the history."""
    return _change(node, pool, _pool_event("rule_changed", rule=rule))


@router.post("/v1/pools/{pool}/archive", summary="Everybody leaves; the pool takes no more changes")
def archive(pool: str, node: NodeUpToDate) -> JSONResponse:
    """Archiving again changes nothing."""
    return _change(node, pool, _pool_event("archived"))


@router.put("/v1/pools/{pool}/candidates/{ref}", summary="Pin, unpin or exclude one candidate")
def place(
    pool: str,
    ref: str,
    node: NodeUpToDate,
    place: Annotated[Literal["pinned", "unpinned", "excluded"], Body(embed=True)],
) -> JSONResponse:
    """By hand, whatever the rule says; `unpinned` leaves it to the rule again."""
    candidate = node.recording.resolve(reference_of(ref))
    return _change(node, pool, _pool_event(f"candidate_{place}", candidate=candidate))


def _pool_event(type_: str, **data: Any) -> PoolEvent:
    return pool.EVENTS[type_](occurred_at=utc_now(), actor=DEFAULT_ACTOR, **data)


def _change(node: NodeUpToDate, name: str, event: PoolEvent) -> JSONResponse:
    pool_id, seq = node.pools.change(name, event)
    return JSONResponse({"pool": pool_id, "seq": seq, "status": "accepted" if seq else "unchanged"})
