"""The made-up history that views are measured on: about 400,000 people over two years in 5,000,000 events.

`history.sql` plans what happens to whom and when, in the order of the ledger; `made_up.py` makes events of its rows.
The same size gives the same events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from api.generator import LAST_MOMENT
from domain import candidate, pool
from tests.benchmarks import made_up
from tests.benchmarks.made_up import Row, event_of, id_of

EVENTS_PER_CANDIDATE = 12.5
POOLS = 30
DAYS = 730
SINCE = LAST_MOMENT - timedelta(days=DAYS)
SQL = Path(__file__).with_suffix(".sql").read_text("utf-8")
# A number from 0 to 1 that depends on a person and on what it is for, and on nothing else.
CHANCE = "create macro chance(n, salt) as (hash(n * 1009 + salt) >> 11) / 9007199254740992.0"
PAGE = 50_000


def rows(events: int, after: int = 0) -> Iterator[list[Row]]:
    """The plan from position `after` + 1 on, many rows at a time. Raises ValueError when it cannot be so short."""
    planner = duckdb.connect(config={"threads": 2})
    planner.execute("set TimeZone = 'UTC'").execute(CHANCE)
    parameters = {
        "events": events,
        "candidates": candidates(events),
        "pools": POOLS,
        "since": SINCE,
        "days": DAYS,
        "types": [*candidate.EVENTS, *pool.EVENTS],
    }
    planner.execute("create table plan as " + SQL, parameters)
    (made,) = planner.execute("select count(*) from plan").fetchone() or (0,)
    if made < events:
        raise ValueError(f"a history of {events:,} events cannot be made; choose 1,000 or more")
    planner.execute("from plan where seq > ? order by seq", [after])
    while page := planner.fetchmany(PAGE):
        yield [Row(*row) for row in page]


def batches(events: int, batch: int) -> Iterator[pa.Table]:
    """The same history as the projector takes it, without a ledger."""
    from tests.unit.histories import Recorded, table

    for page in rows(events):
        for at in range(0, len(page), batch):
            planned = page[at : at + batch]
            yield table([Recorded(r.seq, r.kind, id_of(r.kind, r.n), r.version, event_of(r)) for r in planned])


def candidates(events: int) -> int:
    """How many people a history of that size is about."""
    return round(events / EVENTS_PER_CANDIDATE)


def fingerprint(events: int) -> str:
    """Changes whenever the history of that size may be another one."""
    known = ",".join([*candidate.EVENTS, *pool.EVENTS])
    made = Path(made_up.__file__).read_text("utf-8")
    parts = (SQL, CHANCE, made, known, duckdb.__version__, str(events))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
