"""Questions about candidates and pools, answered from the views. Each takes a reading cursor.

`as_of` is the time asked about, by when things happened; None means now.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from duckdb import DuckDBPyConnection

from domain.event import utc_now
from domain.identity import Edge, Forest
from projections import sql
from projections.registry import VIEWS

Row = dict[str, Any]


def canonical(cur: DuckDBPyConnection, candidate_id: str) -> str | None:
    """The record that stands for the person; None when there is no such candidate."""
    found = rows(cur, "identity", "canonical", candidate_id=candidate_id)
    return found[0]["canonical_id"] if found else None


def records(cur: DuckDBPyConnection, candidate_id: str) -> list[str]:
    """Every record of the person; empty when there is no such candidate."""
    return [row["candidate_id"] for row in rows(cur, "identity", "records", candidate_id=candidate_id)]


def ever_merged(cur: DuckDBPyConnection, candidate_id: str) -> list[str]:
    """Every record that is or ever was one person with `candidate_id`, itself included."""
    found, waiting = {candidate_id}, [candidate_id]
    while waiting:
        others = {row["candidate_id"] for row in rows(cur, "identity", "merged_with", candidate_id=waiting.pop())}
        waiting += others - found
        found |= others
    return sorted(found)


def forest(cur: DuckDBPyConnection, candidate_id: str) -> Forest:
    """The merges in force among the person's records."""
    found = rows(cur, "identity", "records", candidate_id=candidate_id)
    return Forest.of(
        Edge(row["candidate_id"], row["merged_into"], row["merged_seq"]) for row in found if row["merged_into"]
    )


def profile(cur: DuckDBPyConnection, candidate_id: str) -> Row | None:
    """What is known of the person that `candidate_id` is a record of."""
    found = rows(cur, "profile", "profile", canonical_id=canonical(cur, candidate_id))
    return found[0] if found else None


def pools(cur: DuckDBPyConnection, as_of: datetime | None = None) -> list[Row]:
    """All pools, each with its rule and how many were in it."""
    return rows(cur, "pools", "list", name=None, as_of=as_of or utc_now())


def pool_by_name(cur: DuckDBPyConnection, name: str) -> Row | None:
    """The pool of this name, without regard to case; one in use before one archived."""
    found = rows(cur, "pools", "list", name=name, as_of=utc_now())
    return found[0] if found else None


def members(cur: DuckDBPyConnection, pool_id: str, as_of: datetime | None = None) -> list[Row]:
    """Who was in the pool, with today's names."""
    return rows(cur, "pool_membership", "members", pool_id=pool_id, as_of=as_of or utc_now())


def contactability(
    cur: DuckDBPyConnection, canonical_id: str, channel: str | None, purpose: str, as_of: datetime | None = None
) -> Row:
    """Whether and why the person may be contacted; `channel=None` asks about any channel nobody has named."""
    asked = {"canonical_id": canonical_id, "channel": channel or "*", "purpose": purpose}
    found = rows(cur, "gdpr_audit", "standing", **asked, as_of=as_of or utc_now())
    return found[0] if found else {"contactable": False, "status": "no_basis", "because_seq": None}


def trail(cur: DuckDBPyConnection, canonical_id: str) -> list[Row]:
    """Every interval of the person's standing, by purpose and channel."""
    return rows(cur, "gdpr_audit", "trail", canonical_id=canonical_id)


def engagement_score(cur: DuckDBPyConnection, canonical_id: str, as_of: datetime | None = None) -> Row | None:
    """The person's score with what it rests on; None when there is no such person."""
    asked = {"canonical_id": canonical_id, "after": None, "limit": 1}
    found = rows(cur, "engagement_score", "score", **asked, as_of=as_of or utc_now())
    return found[0] if found else None


def engagement_top(
    cur: DuckDBPyConnection, as_of: datetime | None = None, limit: int = 20, after: str | None = None
) -> list[Row]:
    """The persons with the highest scores, flags included; those that come behind the person `after`, if given."""
    asked = {"canonical_id": None, "after": after, "limit": limit}
    return rows(cur, "engagement_score", "score", **asked, as_of=as_of or utc_now())


def engagement_explain(cur: DuckDBPyConnection, canonical_id: str, as_of: datetime | None = None) -> list[Row]:
    """Each contribution to the score, latest first: its points, what they add at that time, and why."""
    return rows(cur, "engagement_score", "explain", canonical_id=canonical_id, as_of=as_of or utc_now())


def timeline(
    cur: DuckDBPyConnection,
    canonical_id: str,
    as_of: datetime | None = None,
    known_at: datetime | int | None = None,
    limit: int = 100,
    before_seq: int | None = None,
) -> list[Row]:
    """The person's events, latest first.

    `known_at` is a time or a ledger position: what the ledger held then. `before_seq` continues after the row of
    that seq.
    """
    at_seq = known_at if isinstance(known_at, int) else None
    at_time = known_at if isinstance(known_at, datetime) else None
    return rows(
        cur,
        "timeline",
        "timeline",
        canonical_id=canonical_id,
        as_of=as_of,
        known_at=at_time,
        known_seq=at_seq,
        before_seq=before_seq,
        limit=limit,
    )


def dead_letters(cur: DuckDBPyConnection) -> list[Row]:
    """Events that cannot be used, each with how many events of its aggregate wait behind it."""
    return rows(cur, "mirror", "dead_letters")


def status(cur: DuckDBPyConnection) -> Row:
    """Row counts, checkpoint, dead letters, and the views with their versions."""
    counts = {row["name"]: row["rows"] for row in rows(cur, "mirror", "rows")}
    for view in VIEWS:
        if view.stored:
            counts[view.name] = sql.value(cur, f"select count(*) from {view.table}")  # noqa: S608 - a view's own name
    return {
        "checkpoint": sql.value(cur, "select seq from ops.checkpoint"),
        "rows": counts,
        "dead_letters": dead_letters(cur),
        "views": rows(cur, "mirror", "views"),
    }


def rows(cur: DuckDBPyConnection, view: str, query: str, **parameters: object) -> list[Row]:
    """What a query beside a view answers, ids in 32 hexadecimal digits."""
    cur.execute(sql.load(f"projections.{view}", f"queries/{query}.sql"), parameters or None)
    names = [column[0] for column in cur.description or ()]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in cur.fetchall()]


def _plain(value: object) -> object:
    """Ids as the rest of Rapport writes them: 32 hexadecimal digits."""
    if isinstance(value, UUID):
        return value.hex
    return [_plain(v) for v in value] if isinstance(value, list) else value
