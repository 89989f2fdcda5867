"""What of the views was told to others, and how the views differ from it by now.

`ops.announced_…` is the fold of the messages told so far, up to the position of one: nothing is in it that was not
said, so whoever folds the same messages tells the same differences, whatever was lost in between.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from duckdb import DuckDBPyConnection

from domain.band import HOT_FROM, WARM_FROM
from projections import sql
from projections.transaction import transaction

VIEWS = ("pool_membership", "engagement")
"""The views that are compared."""

MOST_PERSONS = 20_000
"""Of more than so many it is quicker to compare everybody."""

_BANDS = {"warm_from": WARM_FROM, "hot_from": HOT_FROM}


class Told(NamedTuple):
    """Up to which message of which feed what was told is kept."""

    feed: str
    seq: int


class Move(NamedTuple):
    """A person who came into a pool (`joined`) or left it (`left`), since `at`, by the event `seq` or by time."""

    change: str
    pool_id: str
    canonical_id: str
    seq: int | None
    at: datetime


class BandMove(NamedTuple):
    """A person whose band is another than was told; `score` has one digit, `model` is the model's version."""

    canonical_id: str
    was: str
    band: str
    score: float
    model: str


def prepare(cursor: DuckDBPyConnection) -> None:
    """Creates the tables where there are none."""
    if not _run(cursor, "has_tables")[0][0]:
        cursor.execute(sql.load(__name__, "schema.sql"))


def told(cursor: DuckDBPyConnection) -> Told | None:
    """How far what was told is kept; None for not at all."""
    rows = cursor.execute("select feed, feed_seq from ops.announced").fetchall()
    return Told(*rows[0]) if rows else None


def begin(cursor: DuckDBPyConnection, at: Told, then: DuckDBPyConnection | None, moment: datetime | None) -> None:
    """Takes for told, by the message `at`, what `then` holds as of `moment`; nothing, if that is None."""
    tables = {} if then is None or moment is None else _state(then, moment)
    with transaction(cursor):
        for table in ("announced", "announced_members", "announced_bands"):
            cursor.execute(f"delete from ops.{table}")  # noqa: S608 - our own words
        for name, rows in tables.items():
            cursor.register("was_told", rows)
            cursor.execute(f"insert into ops.{name} by name from was_told")
            cursor.unregister("was_told")
        cursor.execute("insert into ops.announced values ($1, $2)", list(at))


def _state(then: DuckDBPyConnection, moment: datetime) -> dict[str, Any]:
    members = then.sql(sql.load(__name__, "members_then.sql"), params={"at": moment}).to_arrow_table()
    then.execute("set variable as_of = $1::timestamptz", [moment])
    bands = then.sql(sql.load(__name__, "bands_then.sql"), params=_BANDS).to_arrow_table()
    return {"announced_members": members, "announced_bands": bands}


def fold(
    cursor: DuckDBPyConnection, seq: int, moves: Iterable[tuple[str, str, str]], bands: Iterable[tuple[str, str]]
) -> None:
    """What was told up to the message `seq` besides what was before: pool, person and change; person and band."""
    last = {(pool, person): change for pool, person, change in moves}
    joined = [key for key, change in last.items() if change == "joined"]
    banded = dict(bands)
    with transaction(cursor):
        if last:
            _run(cursor, "unfold_members", **_columns(list(last)))
        if joined:
            _run(cursor, "fold_members", **_columns(joined))
        if banded:
            _run(cursor, "unfold_bands", persons=list(banded))
            _run(cursor, "fold_bands", persons=list(banded), bands=list(banded.values()))
        cursor.execute("update ops.announced set feed_seq = $1", [seq])


def touched(cursor: DuckDBPyConnection, after: int, until: int, before: datetime, at: datetime) -> Sequence[str] | None:
    """Whom the events behind `after`, up to `until`, and the time between may have moved; None for anybody."""
    anybody, persons = _run(cursor, "touched", after=after, until=until, before=before, at=at)[0]
    return None if anybody or len(persons or ()) > MOST_PERSONS else [str(person) for person in persons or ()]


def moves(cursor: DuckDBPyConnection, at: datetime, persons: Sequence[str] | None) -> list[Move]:
    """How membership differs from what was told, in a fixed order; of these persons, or of all if None."""
    found = _run(cursor, "members", at=at, whole=persons is None, persons=list(persons or ()))
    return [Move(change, pool.hex, person.hex, seq, moment) for change, pool, person, seq, moment in found]


def band_moves(cursor: DuckDBPyConnection, at: datetime) -> list[BandMove]:
    """Whose band differs from what was told, in a fixed order."""
    cursor.execute("set variable as_of = $1::timestamptz", [at])
    return [BandMove(person.hex, *rest) for person, *rest in _run(cursor, "bands", **_BANDS)]


def views_seq(cursor: DuckDBPyConnection) -> int:
    """The ledger position that the views stand at, as this cursor sees them."""
    seq: int = sql.value(cursor, "select views_seq from ops.checkpoint")
    return seq


def _columns(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    return {"pools": [pool for pool, _ in pairs], "persons": [person for _, person in pairs]}


def _run(cursor: DuckDBPyConnection, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return cursor.execute(sql.load(__name__, f"{name}.sql"), parameters or None).fetchall()
