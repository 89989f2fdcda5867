"""Recomputing what new events affect: their pools, their persons, everyone in those pools."""

from collections.abc import Callable, Sequence

import duckdb
from duckdb import DuckDBPyConnection

from projections import scope, sql
from projections.view import IN_SCOPE, View

FAULTS = (
    *(duckdb.IOException, duckdb.OutOfMemoryException, duckdb.TransactionException, duckdb.InterruptException),
    *(duckdb.ConnectionException, duckdb.FatalException, duckdb.InternalException),
)
"""Errors that say nothing about the definition at work: the disk, the memory, the database."""


def compute(connection: DuckDBPyConnection, view: View, place: str) -> None:
    """Add the rows in scope to `place`. Raises ViewRefused when the query fails on them."""
    try:
        connection.execute(f"insert into {place} by name\n{view.query}")
    except FAULTS:
        raise
    except duckdb.Error as error:
        raise view.refused(error, of_data=True) from None


def recompute(connection: DuckDBPyConnection, view: View, place: str) -> None:
    """Compute the rows in scope anew."""
    affected = " and ".join(IN_SCOPE[key] for key in view.keys)
    connection.execute(f"delete from {place} where {affected}")  # noqa: S608 - both are our own words
    compute(connection, view, place)


def refresh(connection: DuckDBPyConnection, views: Sequence[View], place: Callable[[View], str]) -> None:
    """Recompute what the events in `scope_new` affect, in the tables at `place`.

    `scope.begin` was called on the connection. Raises ViewRefused when a query fails on the rows.
    """
    scope.run(connection, "records")
    types, begins, pools = connection.execute(sql.load("projections.scope", "moved.sql")).fetchall()[0]
    affected = [
        view
        for view in views
        if view.stored and (view.looks_at(frozenset(types or ())) or (begins and view.keys != ("pool_id",)))
    ]
    scope.run(connection, "usable")
    if pools:
        scope.run(connection, "pools_changed")
    for view in affected:
        if not view.by_person:
            recompute(connection, view, place(view))
    scope.run(connection, "persons")
    scope.run(connection, "audit_events")
    scope.run(connection, "pools_all")
    for view in affected:
        if view.by_person:
            recompute(connection, view, place(view))
    if pools:
        scope.run(connection, "pools_changed")
        scope.run(connection, "others")
        for view in affected:
            if {"canonical_id", "pool_id"} <= set(view.keys):
                recompute(connection, view, place(view))
