"""Parameters that many routes share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import duckdb
from fastapi import Depends, Path, Query, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query as InQuery
from fastapi.routing import APIRoute

from api.node import Node, ViewsBehind
from api.references import reference_of
from api.sql import QueriesBusy
from api.without_keys import candidate_meant
from domain.event import UtcDatetime, utc_now
from projections import queries
from projections.one_at_a_time import ComputingBusy

WAIT_S = 10.0
"""For so long who asks for what is computed over everybody waits, on a thread, while something else is."""


def _node(
    request: Request, min_seq: Annotated[int, Query(ge=0, description="wait until the views hold this event")] = 0
) -> Node:
    node: Node = request.app.state.node
    if min_seq > node.projector.checkpoint:
        last = node.ledger.last_seq()
        if min_seq > last:
            raise ViewsBehind(f"the ledger stands at event {last}, {min_seq} was asked for")
        node.wait_for(min_seq)
    return node


async def only_known_parameters(request: Request) -> None:
    """A misspelt `asof` must not get today's answer. Raises UnknownParameter."""
    if not request.query_params:
        return
    known = known_to(request.scope["route"])
    if unknown := sorted(request.query_params.keys() - known):
        names = ", ".join(sorted(known)) or "none"
        raise UnknownParameter(f"{unknown[0][:60]!r}: no such parameter; known are {names}")


def known_to(route: APIRoute) -> set[str]:
    """The names of a route's query parameters. The OpenAPI document has them as well, but takes 0.2 s to be made."""
    return {field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, InQuery)}


class UnknownParameter(Exception):
    """The query names a parameter that the route does not have."""


NodeUpToDate = Annotated[Node, Depends(_node)]
"""The node, after waiting for `?min_seq=`."""


def _cursor(node: NodeUpToDate) -> Iterator[duckdb.DuckDBPyConnection]:
    if node.projecting.failure is not None and node.projector.checkpoint < node.ledger.last_seq():
        raise ViewsBehind("the views stand still behind the ledger; see /readyz")
    with node.projector.cursor() as cursor:
        yield cursor


Cursor = Annotated[duckdb.DuckDBPyConnection, Depends(_cursor)]


def _as_of(
    as_of: Annotated[UtcDatetime | None, Query(description="what was true then; now if absent")] = None,
) -> datetime:
    return as_of or utc_now()


AsOf = Annotated[datetime, Depends(_as_of)]
AsOfOrNow = Annotated[UtcDatetime | None, Query(description="what was true then; now if absent")]
"""For what comes from the ledger, whose clock may be ahead of ours: see `api.histories.now_of_any`."""
KnownAt = Annotated[UtcDatetime | None, Query(description="what the ledger held then; now if absent")]


@contextmanager
def looking(
    node: Node,
    cursor: duckdb.DuckDBPyConnection,
    known_at: datetime | None,
    views: Sequence[str],
    candidate_id: str | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A cursor on which `views` are what they were at `known_at`, of one person or of all; `cursor` itself for now."""
    if known_at is None:
        yield cursor
    elif candidate_id is not None:
        with node.projector.known.of_person(known_at, candidate_id, views) as then:
            yield then
    else:
        with come_again(), node.projector.known.of_all(known_at, views, WAIT_S) as then:
            yield then


@contextmanager
def come_again() -> Iterator[None]:
    """What is not computed because something else is, is refused as queries are of which too many run."""
    try:
        yield
    except ComputingBusy as error:
        raise QueriesBusy(str(error)) from None


def _candidate(
    request: Request,
    node: NodeUpToDate,
    ref: Annotated[str, Path(description="id, email, +phone, profile link or system:key")],
) -> str:
    candidate = candidate_meant(node, reference_of(ref))
    request.state.seen.person(candidate)  # for the access log: see `api.http.reads`
    return candidate


CandidateId = Annotated[str, Depends(_candidate)]
"""The record that `{ref}` names."""


def canonical_of(cursor: duckdb.DuckDBPyConnection, candidate_id: str) -> str:
    """The record that stands for the person. Raises ViewsBehind when the views do not hold the candidate yet."""
    canonical = queries.canonical(cursor, candidate_id)
    if canonical is None:
        raise ViewsBehind("the views do not hold this candidate yet; ask with ?min_seq= or try again shortly")
    return canonical
