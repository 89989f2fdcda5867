"""All that is held about one person: events as they were recorded, and every row that was derived from them.

Each function takes a reading cursor. `records` are those of the person, ids 32 hexadecimal digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from duckdb import DuckDBPyConnection

from projections import queries
from projections.view import View

Row = queries.Row


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """One event as the mirror holds it.

    `body` are the stored bytes, `fields` the personal part that was opened (JSON), either None when there is none.
    `problem` says why the event cannot be used; its `occurred_at` is then None.
    """

    seq: int
    recorded_at: datetime
    record: str
    version: int
    type: str
    occurred_at: datetime | None
    body: bytes | None
    fields: str | None
    problem: str | None


def events(cur: DuckDBPyConnection, records: Sequence[str]) -> list[HeldEvent]:
    """Every event of these records, in ledger order, those included that cannot be used."""
    return [HeldEvent(**row) for row in queries.rows(cur, "person", "events", records=list(records))]


def placements(cur: DuckDBPyConnection, records: Sequence[str]) -> list[Row]:
    """Each time one of these records was pinned to a pool, excluded from it, or neither any more, in ledger order."""
    return queries.rows(cur, "person", "placements", records=list(records))


def memberships(cur: DuckDBPyConnection, canonical_id: str) -> list[Row]:
    """Which pools the person was in, from when until when, by name."""
    return queries.rows(cur, "person", "memberships", canonical_id=canonical_id)


def holders(cur: DuckDBPyConnection, identifiers: Sequence[str]) -> list[str]:
    """The records to which an event tied one of these identifiers, by looking through all events."""
    return [row["record"] for row in queries.rows(cur, "person", "holders", identifiers=list(identifiers))]


def is_about_people(view: View) -> bool:
    """Whether the rows of a view say whom they are about."""
    return not view.manifest.columns.keys().isdisjoint({"canonical_id", "candidate_id"})


def derived(cur: DuckDBPyConnection, view: View, canonical_id: str, records: Sequence[str]) -> list[Row]:
    """The rows of a view that are about the person, values as DuckDB gives them, in an order that does not change."""
    whole = "canonical_id" in view.manifest.columns
    where = f"{'canonical_id' if whole else 'candidate_id'} in (select unnest($ids::uuid[]))"
    cur.execute(f"from {view.table} where {where} order by all", {"ids": [canonical_id] if whole else list(records)})
    names = [column[0] for column in cur.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cur.fetchall()]
