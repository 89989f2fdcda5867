"""Data that is restricted (Art. 18 GDPR) is stored and not used: no pool and no ranking, until that is lifted."""

from datetime import timedelta

import pytest
from duckdb import DuckDBPyConnection

from domain import candidate as c
from domain import pool as p
from domain.engagement import ENGAGEMENT_MODEL
from domain.event import Event
from domain.rule import Rule
from projections import queries
from projections.what_if import what_if
from tests.unit.histories import EPOCH, fresh, recorded, table

A, B, POOL = "a" * 32, "b" * 32, "1" * 32


def on(day: float, cls: type[Event], **fields: object) -> Event:
    return cls.model_validate({"occurred_at": EPOCH + timedelta(days=day), "actor": "user:x"} | fields)


HISTORY = recorded(
    [
        (POOL, on(0, p.Created, name="P", rule=Rule.model_validate({"all": [{"tag": "go"}]}))),
        (A, on(1, c.Tagged, tag="go")),
        (B, on(1, c.Tagged, tag="go")),
        (A, on(2, c.Replied)),
        (B, on(2, c.Replied)),
        (A, on(3, c.BasisRecorded, basis="legitimate_interest")),
        (A, on(4, c.Restricted, ground="accuracy_contested", channel="email")),
        (A, on(6, c.RestrictionLifted)),
        (POOL, on(3, p.CandidatePinned, candidate=A)),
    ]
)


@pytest.mark.parametrize(("day", "used"), [(3.5, True), (4.5, False), (5.9, False), (6.1, True)])
def test_it_leaves_pools_and_rankings_and_comes_back(database: DuckDBPyConnection, day: float, used: bool) -> None:
    """By rule or pinned by hand; the score itself is kept, and flagged."""
    projector = fresh(database)
    projector.apply(table(HISTORY))
    at = EPOCH + timedelta(days=day)
    members = database.execute(
        "select replace(canonical_id::varchar, '-', '') from pool_membership "
        "where joined_at <= $at and (left_at is null or $at < left_at)",
        {"at": at},
    ).fetchall()
    assert ((A,) in members) == used
    assert (B,) in members
    assert (A in {row["canonical_id"] for row in queries.engagement_top(database, at)}) == used
    assert (A in {row["canonical_id"] for row in what_if(projector, ENGAGEMENT_MODEL, at, 10)}) == used
    alone = queries.engagement_score(database, A, at)
    assert alone is not None
    assert alone["score"] > 0
    assert alone["flag"] == (None if used else "restricted")
    database.execute(f"set variable as_of = timestamptz '{at.isoformat()}'")
    shown = database.execute("select count(*) from engagement where canonical_id = ?::uuid", [A]).fetchall()
    database.execute("reset variable as_of")
    assert shown == [(int(used),)]
