"""Pools: who is in, who was in, by rule and by hand."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.http.answers import answers
from api.http.answers.relationships import Members, PoolChanged, PoolMade, Pools
from api.http.asking import AskedFirst
from api.http.callers import Caller, Calling
from api.http.once import TAKES_KEY
from api.http.paging import After, Limit, page
from api.http.parameters import AsOf, Cursor, KnownAt, NodeUpToDate, looking
from api.http.reads import WRITES, Noting, reads
from api.http.roles import PERSON, RECRUITING
from api.node import Node
from api.references import reference_of
from api.without_keys import pool_meant
from domain import pool
from domain.access import Read
from domain.event import Name, Text, UtcDatetime, utc_now
from domain.interaction import DEFAULT_ACTOR
from domain.rule import EMPTY, Rule
from projections import queries

router = APIRouter(route_class=AskedFirst, tags=["pools"])


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

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "Python in Germany", "rule": {"all": [{"tag": "python"}], "any": [{"location": "Berlin"}]}}
            ]
        },
    )

    name: Annotated[Name, AfterValidator(_in_a_path)]
    description: Text | None = None
    rule: Rule = EMPTY


class NewRule(ByWhom):
    """The rule that takes the place of the one in force."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"rule": {"all": [{"tag": "python"}, {"contactable": {"channel": "email"}}]}}]},
    )

    rule: Rule


class NewPlace(ByWhom):
    """Where one candidate is put by hand."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"place": "pinned"}]})

    place: Literal["pinned", "unpinned", "excluded"]


@router.get(
    "/v1/pools", summary="All pools with their size", openapi_extra=reads(Read.POOLS) | PERSON, responses=answers(Pools)
)
def list_pools(
    node: NodeUpToDate, cursor: Cursor, as_of: AsOf, known_at: KnownAt = None, limit: Limit = 1_000, after: After = None
) -> dict[str, Any]:
    """Archived ones included; they are empty from then on."""
    with looking(node, cursor, known_at, ("pools", "pool_membership")) as then:
        rows, more = page(queries.pools(then, as_of), "pool_id", limit, after)
    return {"as_of": as_of.isoformat(), "known_at": known_at, "pools": rows, "next": more}


@router.post(
    "/v1/pools",
    summary="Create a pool",
    status_code=201,
    openapi_extra=WRITES | RECRUITING | TAKES_KEY,
    responses=answers(PoolMade, status=201),
)
def create(request: NewPool, node: NodeUpToDate, caller: Calling) -> dict[str, Any]:
    """Names are unique without regard to case."""
    event = pool.Created(
        occurred_at=request.occurred_at,
        actor=caller.acting(request.actor),
        name=request.name,
        description=request.description,
        rule=request.rule,
    )
    pool_id, seq = node.pools.create(event)
    return {"pool": pool_id, "seq": seq}


@router.get(
    "/v1/pools/{pool}/members",
    summary="Who was in at a moment",
    openapi_extra=reads(Read.MEMBERS) | PERSON,
    responses=answers(Members),
)
def members(
    pool: str,
    node: NodeUpToDate,
    cursor: Cursor,
    seen: Noting,
    as_of: AsOf,
    known_at: KnownAt = None,
    limit: Limit = 1_000,
    after: After = None,
) -> dict[str, Any]:
    """Members as of `as_of`, with when they joined and the event that let them in. `count` is of all pages."""
    pool_id = pool_meant(node, pool)
    with looking(node, cursor, known_at, ("pool_membership", "profile")) as then:
        found = queries.members(then, pool_id, as_of)
    rows, more = page(found, "canonical_id", limit, after)
    seen.persons(row["canonical_id"] for row in rows)
    return {
        "pool": pool_id,
        "as_of": as_of.isoformat(),
        "known_at": known_at,
        "count": len(found),
        "members": rows,
        "next": more,
    }


@router.put(
    "/v1/pools/{pool}/rule",
    summary="Another rule from now on",
    openapi_extra=WRITES | RECRUITING,
    responses=answers(PoolChanged),
)
def change_rule(pool: str, request: NewRule, node: NodeUpToDate, caller: Calling) -> JSONResponse:
    """Who was in under the old rule stays in the history."""
    return _change(node, caller, pool, request, "rule_changed", rule=request.rule)


@router.post(
    "/v1/pools/{pool}/archive",
    summary="Everybody leaves; the pool takes no more changes",
    openapi_extra=WRITES | RECRUITING | TAKES_KEY,
    responses=answers(PoolChanged),
)
def archive(pool: str, request: ByWhom, node: NodeUpToDate, caller: Calling) -> JSONResponse:
    """Archiving again changes nothing."""
    return _change(node, caller, pool, request, "archived")


@router.put(
    "/v1/pools/{pool}/candidates/{ref:path}",
    summary="Pin, unpin or exclude one candidate",
    openapi_extra=WRITES | RECRUITING,
    responses=answers(PoolChanged),
)
def place(pool: str, ref: str, request: NewPlace, node: NodeUpToDate, caller: Calling) -> JSONResponse:
    """By hand, whatever the rule says; `unpinned` leaves it to the rule again."""
    candidate = node.recording.resolve(reference_of(ref))
    return _change(node, caller, pool, request, f"candidate_{request.place}", candidate=candidate)


def _change(node: Node, caller: Caller, name: str, request: ByWhom, type_: str, **data: Any) -> JSONResponse:
    actor = caller.acting(request.actor)
    event = pool.EVENTS[type_](occurred_at=request.occurred_at, actor=actor, **data)
    pool_id, seq = node.pools.change(name, event)
    return JSONResponse({"pool": pool_id, "seq": seq, "status": "accepted" if seq else "unchanged"})
