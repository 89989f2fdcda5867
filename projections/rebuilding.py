"""Computing views anew over everything, while readers go on with the ones there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import duckdb

from projections import scope, sql
from projections.registry import VIEWS, resting_on
from projections.transaction import transaction
from projections.view import View

if TYPE_CHECKING:
    from projections.projector import Projector

Progress = Callable[[str, float], None]
"""Told the name of a view and how much of it is done, from 0 to 1. An exception from it cancels the rebuild."""

PART_EVENTS = 2_000_000
"""Views are computed for so many events' worth of people at a time, which bounds the memory."""


def rebuild(projector: Projector, view: str | None = None, on_progress: Progress | None = None) -> None:
    """Compute `view` and those that rest on it anew, or all. Readers see the old ones until the new are whole.

    Raises KeyError when there is no such view.
    """
    chosen = VIEWS if view is None else resting_on({v.name: v for v in VIEWS}[view])
    with projector.lock:
        _build(projector.cursor(), chosen, on_progress)


def bring_up_to_date(connection: duckdb.DuckDBPyConnection) -> None:
    """Build the views that are new, or whose definition is not the one they were built by."""
    built = dict(connection.execute("select name, definition from ops.views").fetchall())
    stale = [view for view in VIEWS if built.get(view.name) != view.definition]
    if stale:
        _build(connection, stale, None)


def _build(connection: duckdb.DuckDBPyConnection, views: Sequence[View], on_progress: Progress | None) -> None:
    """Replace the tables of `views` in one transaction: others see all of the new ones at once."""
    with transaction(connection):
        for view in views:
            view.prepare(connection)
            view.create(connection)
        scope.begin_whole(connection)
        for view in views:
            started = time.monotonic()
            for done in _compute_in_parts(connection, view):
                if on_progress:
                    on_progress(view.name, done)
            connection.execute(
                "insert or replace into ops.views values (?, ?, ?, now(), ?)",
                [view.name, view.version, view.definition, time.monotonic() - started],
            )


def _compute_in_parts(connection: duckdb.DuckDBPyConnection, view: View) -> Iterator[float]:
    """Fill the empty table of `view`, a part of the persons at a time; yields how much is done."""
    by_person = "canonical_id" in view.keys
    events = sql.value(connection, "select events from ops.checkpoint")
    parts = 1 + events // PART_EVENTS if by_person else 1
    yield 0.0
    for part in range(parts):
        if by_person:
            scope.run(connection, "part", parts=parts, part=part)
        view.compute(connection)
        yield (part + 1) / parts
