"""Parameters that many routes share."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import duckdb
from fastapi import Depends, Path, Query, Request

from api.node import Node, ViewsBehind
from api.references import reference_of
from domain.event import UtcDatetime, utc_now
from projections import queries


def _node(
    request: Request, min_seq: Annotated[int, Query(ge=0, description="wait until the views hold this event")] = 0
) -> Node:
    node: Node = request.app.state.node
    if min_seq:
        node.wait_for(min_seq)
    return node


NodeUpToDate = Annotated[Node, Depends(_node)]
"""The node, after waiting for `?min_seq=`."""


def _cursor(node: NodeUpToDate) -> Iterator[duckdb.DuckDBPyConnection]:
    with node.projector.cursor() as cursor:
        yield cursor


Cursor = Annotated[duckdb.DuckDBPyConnection, Depends(_cursor)]


def _as_of(
    as_of: Annotated[UtcDatetime | None, Query(description="what was true then; now if absent")] = None,
) -> datetime:
    return as_of or utc_now()


AsOf = Annotated[datetime, Depends(_as_of)]


def _candidate(
    node: NodeUpToDate,
    ref: Annotated[str, Path(description="id, email, +phone, profile link or system:key")],
) -> str:
    return node.recording.resolve(reference_of(ref))


CandidateId = Annotated[str, Depends(_candidate)]
"""The record that `{ref}` names."""


def canonical_of(cursor: duckdb.DuckDBPyConnection, candidate_id: str) -> str:
    """The record that stands for the person. Raises ViewsBehind when the views do not hold the candidate yet."""
    canonical = queries.canonical(cursor, candidate_id)
    if canonical is None:
        raise ViewsBehind("the views do not hold this candidate yet; ask with ?min_seq= or try again shortly")
    return canonical
