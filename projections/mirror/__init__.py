"""The ledger's rows in DuckDB: one table, personal columns included, and a SQL view of what is not personal."""

import duckdb
import pyarrow as pa

from domain import candidate, pool
from domain.upcasters import ADDS, UPCASTERS
from projections import sql
from projections.transaction import transaction

VERSION = 4
"""Raised when the mirror's tables change; `upgrades/<version>.sql` then makes the tables of the version before so."""


class MirrorOutdated(Exception):
    """The file's mirror shows events in another form than this version of Rapport does."""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the mirror's tables, or bring those of an older version up to date. Raises MirrorOutdated."""
    with transaction(connection):
        for version in range(_version(connection), VERSION):
            connection.execute(sql.load(__name__, f"upgrades/{version + 1}.sql"))
            connection.execute("update ops.views set version = $1 where name = 'mirror'", [version + 1])
        for step in ("schema", "events", "comments", "as_of"):
            connection.execute(sql.load(__name__, step + ".sql"))
        row = ["mirror", VERSION, shown_as()]
        connection.execute(sql.load(__name__, "note_version.sql"), row)
        if sql.value(connection, "select definition from ops.views where name = 'mirror'") != shown_as():
            raise MirrorOutdated(
                "the file's mirror shows events as another version of Rapport does; move the file away and it is "
                "filled anew"
            )


def _version(connection: duckdb.DuckDBPyConnection) -> int:
    """The version of the tables there are; the newest when there are none. Raises MirrorOutdated for a newer one."""
    if not connection.execute(sql.load(__name__, "has_tables.sql")).fetchall():
        return VERSION
    found: int = sql.value(connection, "select version from ops.views where name = 'mirror'") or 0
    if not 1 <= found <= VERSION:
        raise MirrorOutdated(
            f"the file's mirror is of version {found}, this is Rapport's {VERSION}; use the newer Rapport, or move the "
            "file away and it is filled anew"
        )
    return found


def shown_as() -> str:
    """The schema versions as which the rows show events, as far as rows of older ones look different."""
    catalogues = ((candidate.KIND, candidate.EVENTS), (pool.KIND, pool.EVENTS))
    newest = [(kind, type_, cls.v) for kind, table in catalogues for type_, cls in table.items()]
    return " ".join(sorted(f"{kind}.{type_}.v{v}" for kind, type_, v in newest if _looks_different(kind, type_, v)))


def _looks_different(kind: str, type_: str, newest: int) -> bool:
    return any(UPCASTERS.get((kind, type_, v)) is not ADDS for v in range(1, newest))


_TIME = pa.timestamp("us", "UTC")

BATCH_SCHEMA = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("recorded_at", _TIME, nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("version", pa.int32()),
        pa.field("type", pa.string()),
        pa.field("v", pa.int16()),
        pa.field("occurred_at", _TIME),
        pa.field("public", pa.string()),
        pa.field("personal", pa.string()),
        pa.field("body", pa.binary()),
        pa.field("problem", pa.string()),
        pa.field("hash", pa.binary()),
    ]
)
"""One row a ledger message, in ledger order: what the decoder hands to the projector.

`public` is a JSON object of the event's clear fields, `personal` one of the decrypted fields (null once the key
is destroyed), `problem` says why the event cannot be used (null when it can). Of an event that was purged there
is `hash`, the SHA-256 of the `body` that is gone; of all others it is null.
"""
