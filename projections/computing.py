"""Computing views over everything, a part of the persons at a time, into tables beside the ones in use."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

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

PART_EVENTS = 2_000_000
"""Views are computed for so many events' worth of people at a time, which bounds memory and what a crash costs. Each
part reads the whole mirror to find its events, so that smaller parts cost more."""

_GATHERED = frozenset({"scope_events", "scope_audit_events", "scope_of_persons"})
"""The names by which a view reads the events of the persons in scope."""

_EVERY_COLUMN = "\0"
"""In place of names of columns; no name."""


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
        _gather(over.connection, chosen, part - 1, parts)
    for number, view in enumerate(chosen):
        on_progress(view.name, (part + number / len(chosen)) / (parts + 1))
        compute(over.connection, view, place(view))


def _gather(connection: duckdb.DuckDBPyConnection, views: Sequence[View], part: int, parts: int) -> None:
    """From now on the persons are those of `part` (0 to `parts` - 1), and what `views` read of their events lies in a
    table. Most of a part's time is spent on copying columns."""
    scope.run(connection, "part", parts=parts, part=part)
    there = [row[0] for row in connection.execute("describe scope_of_persons").fetchall()]
    read = [words for view in views if (words := _words_about_events(view.query)) is not None]
    if _EVERY_COLUMN not in (named := {"canonical_id", "waits"}.union(*read)):
        there = [column for column in there if column in named]
    columns = ", ".join(map(sql.quoted, there))
    connection.execute(f"create or replace temp table scope_audit_events as select {columns} from scope_of_persons")  # noqa: S608 - quoted names
    scope.run(connection, "events")


@lru_cache(maxsize=200)
def _words_about_events(query: str) -> frozenset[str] | None:
    """Every word of a query that may read events in scope, `_EVERY_COLUMN` when it may read columns it does not name;
    None when it reads no events."""
    tree = sql.parsed(query)
    if not _reads_events(tree):
        return None
    return frozenset({_EVERY_COLUMN} if _takes_rows(tree) else _words(tree))


def _reads_events(tree: Any) -> bool:
    """Whether a query of this parse tree may read the events in scope."""
    return tree is None or any(map(_is_gathered, _nodes(tree)))


def _takes_rows(tree: Any) -> bool:
    """Whether a query of this parse tree may read columns of the events in scope that it does not name."""
    events = [node for node in _nodes(tree) if _is_gathered(node)]
    rows = [[str(node[key]).lower()] for node in events for key in ("alias", "table_name") if node.get(key)]
    return (
        tree is None
        or any(node.get("column_name_alias") for node in events)
        or any([str(name).lower() for name in node.get("column_names", ())] in rows for node in _nodes(tree))
        or any(node.get("type") == "SELECT_NODE" and _selects_rows(node) for node in _nodes(tree))
    )


def _selects_rows(select: dict[str, Any]) -> bool:
    sources = list(_nodes(select["from_table"]))
    return any(map(_is_gathered, sources)) and (
        any(item.get("type") in {"STAR", "POSITIONAL_REFERENCE"} for item in _nodes(select["select_list"]))
        or any(source.get("type") == "PIVOT" or source.get("ref_type") == "NATURAL" for source in sources)
    )


def _is_gathered(node: dict[str, Any]) -> bool:
    """Whether it is a reference to a table of events in scope; a table function may be one to anything."""
    return node.get("type") == "TABLE_FUNCTION" or str(node.get("table_name", "")).lower() in _GATHERED


def _children(tree: Any) -> Iterable[Any]:
    return tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a parse tree."""
    if isinstance(tree, dict):
        yield tree
    for child in _children(tree):
        yield from _nodes(child)


def _words(tree: Any) -> set[str]:
    """Every text in a parse tree, names of columns among them, in lower case."""
    return {tree.lower()} if isinstance(tree, str) else set().union(*map(_words, _children(tree)))
