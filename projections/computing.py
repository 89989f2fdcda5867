"""Computing views over everything, a part of the persons at a time, into tables beside the ones in use."""

from collections.abc import Callable, Sequence

import duckdb

from projections import scope, sql
from projections.overlay import Overlay
from projections.transaction import transaction
from projections.upkeep import FAULTS, compute
from projections.view import View

Progress = Callable[[str, float], None]
"""Told the view at work and how much of the whole is done, from 0 to 1. An exception from it cancels the work."""

Place = Callable[[View], str]
"""Where a view's rows are kept."""

PART_EVENTS = 1_000_000
"""Views are computed for so many events' worth of people at a time, which bounds memory and what a crash costs."""


def nobody(_what: object, _done: float) -> None:
    """Progress that nobody asked for."""


def define(over: Overlay, views: Sequence[View], place: Place) -> None:
    """From now on the names of the views mean the tables at `place`, which are made, empty, where they are not there.

    Raises ViewRefused when a query cannot be bound.
    """
    there = {
        tuple(row) for row in over.connection.execute(sql.load("projections.catalogue", "all_tables.sql")).fetchall()
    }
    scope.begin_whole(over.connection)
    for by_person in (False, True):
        if by_person:
            scope.begin_persons(over.connection)
        for view in views:
            if view.by_person == by_person:
                if place(view) not in {".".join(map(sql.quoted, row)) for row in there}:
                    with transaction(over.connection):
                        _create(over, view, place(view))
                over.point(view.table, f"from {place(view)}")


def _create(over: Overlay, view: View, table: str) -> None:
    """An empty table for the view, with its descriptions. Raises ViewRefused."""
    view.check(over.connection)
    try:
        found = over.connection.execute(f"describe\n{view.query}").fetchall()
    except FAULTS:
        raise
    except duckdb.Error as error:
        raise view.refused(error) from None
    # Rows are looked up by these columns one by one: in runs, as DuckDB would choose to keep them, that takes long.
    columns = [
        f"{sql.quoted(name)} {type_}{' using compression uncompressed' if name in view.indexed else ''}"
        for name, type_, *_ in found
    ]
    over.connection.execute(f"create table {table} ({', '.join(columns)})")
    view.describe(over.connection, table, [row[0] for row in found])


def compute_part(
    over: Overlay, views: Sequence[View], place: Place, part: int, parts: int, on_progress: Progress = nobody
) -> None:
    """Part 0 are the views that are not computed by person, parts 1 to `parts` the others for so many of the persons.

    Raises ViewRefused.
    """
    chosen = [view for view in views if view.by_person == (part > 0)]
    if part > 0 and chosen:
        scope.next_part(over.connection, part - 1, parts)
    for number, view in enumerate(chosen):
        on_progress(view.name, (part + number / len(chosen)) / (parts + 1))
        compute(over.connection, view, place(view))
