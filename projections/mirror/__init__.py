"""The ledger's rows in DuckDB: clear columns for analysts, personal ones in a schema of their own."""

import pyarrow as pa

from domain import candidate, pool

VERSION = 1
"""Raised when the mirror's tables change; an older file is then filled anew from the ledger."""


def shown_as() -> str:
    """The schema versions as which the rows show events, those above 1: rows of older ones look different."""
    catalogues = ((candidate.KIND, candidate.EVENTS), (pool.KIND, pool.EVENTS))
    newest = [(kind, type_, cls.v) for kind, table in catalogues for type_, cls in table.items()]
    return " ".join(sorted(f"{kind}.{type_}.v{v}" for kind, type_, v in newest if v > 1))


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
    ]
)
"""One row a ledger message, in ledger order: what the decoder hands to the projector.

`public` is a JSON object of the event's clear fields, `personal` one of the decrypted fields (null once the key
is destroyed), `problem` says why the event cannot be used (null when it can).
"""
