"""Views computed anew beside the ones in use, which readers keep until the new ones are whole."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from typing import TYPE_CHECKING

import duckdb

from projections import scope, sql
from projections.computing import PART_EVENTS, Place, Progress, compute_part, define, nobody
from projections.overlay import Overlay, overlay
from projections.registry import resting_on
from projections.transaction import transaction
from projections.upkeep import Upkeep
from projections.view import QUERY, View, ViewRefused

if TYPE_CHECKING:
    from projections.projector import Projector

CLOSE_EVENTS = 2_000
"""With no more than so many events left to catch up with, the views in use stand still until the swap."""


def rebuild(projector: Projector, view: str | None = None, on_progress: Progress | None = None) -> None:
    """Compute `view` and those that rest on it anew, or all; readers and the projector go on with the old ones.

    Cancelled by an exception from `on_progress`, or killed, it goes on from the part it had reached when it is asked
    for again. Raises KeyError when there is no such view, ViewRefused when a query fails.
    """
    views = [v for v in projector.views if v.stored]
    chosen = views if view is None else resting_on({v.name: v for v in views}[view], views)
    if views[0] not in chosen:
        # Who was one person with whom at the position that the build begins from: catching up rests on it.
        chosen = (views[0], *chosen)
    with projector.build_lock:
        projector.settle()
        build(projector, chosen, on_progress or nobody)


def build(projector: Projector, views: Sequence[View], on_progress: Progress) -> None:
    """`rebuild` of these views, in the order of their dependencies. The caller holds `projector.build_lock`."""
    started = time.monotonic()
    with closing(projector.cursor()) as connection:
        base, parts, done = _begin(connection, views)
    with closing(projector.cursor()) as connection, overlay(connection) as over:

        def place(view: View) -> str:
            return over.below(view.next_table)

        define(over, views, place)
        for part in range(done, parts + 1):
            with transaction(connection):
                compute_part(over, views, place, part, parts, on_progress)
                connection.execute(f"update {over.below('ops.build')} set done = ?", [part + 1])  # noqa: S608 - our own name
        with _following(projector, over, views, place) as catch_up:
            while projector.mirrored - base > CLOSE_EVENTS:
                base = catch_up(base)
            with projector.lock:
                if projector.mirrored > base:
                    catch_up(base)
                _swap(over, views, time.monotonic() - started)
    on_progress(views[-1].name, 1.0)


def discard(connection: duckdb.DuckDBPyConnection) -> None:
    """Forget a build that was left unfinished."""
    left = connection.execute(sql.load("projections.catalogue", "next_tables.sql")).fetchall()
    for schema, table in left:
        connection.execute(f"drop table {sql.quoted(schema)}.{sql.quoted(table)}")
    connection.execute("delete from ops.build")


def _begin(connection: duckdb.DuckDBPyConnection, views: Sequence[View]) -> tuple[int, int, int]:
    """The position the build starts from, its parts, and how many are done; goes on with one left unfinished."""
    definition = hashlib.sha256("\0".join(view.name + view.definition for view in views).encode()).hexdigest()
    left = connection.execute(
        "select base_seq, parts, done from ops.build where definition = ?", [definition]
    ).fetchall()
    seq, events = connection.execute("select seq, events from ops.checkpoint").fetchall()[0]
    if left and seq - left[0][0] <= max(CLOSE_EVENTS, events // 10):
        base, parts, done = left[0]
        return base, parts, done
    parts = 1 + events // PART_EVENTS
    done = 0 if events else parts + 1  # over no events no view has rows
    with transaction(connection):
        discard(connection)
        for view in views:
            view.prepare(connection)
        connection.execute("insert into ops.build values (?, ?, ?, ?)", [definition, seq, parts, done])
    return seq, parts, done


@contextmanager
def _following(
    projector: Projector, over: Overlay, views: Sequence[View], place: Place
) -> Iterator[Callable[[int], int]]:
    """Brings the new tables from a position up to the mirror's, which it returns. What that takes is made when first
    asked for."""
    with ExitStack() as made:

        @cache
        def follower() -> tuple[Overlay, Upkeep]:
            follow = made.enter_context(overlay(made.enter_context(closing(projector.cursor()))))
            for view in views:
                follow.point(view.table, f"from {place(view)}")
            return follow, made.enter_context(closing(Upkeep(follow.connection, over.database, views, place)))

        yield lambda base: _catch_up(*follower(), base)


def _catch_up(over: Overlay, upkeep: Upkeep, base: int) -> int:
    """Bring the new tables up to the mirror; its position."""
    with transaction(over.connection):
        seq: int = sql.value(over.connection, "select seq from ops.checkpoint")
        if seq > base:
            scope.run(over.connection, "new", after=base)
            upkeep.refresh()
            over.connection.execute(f"update {over.below('ops.build')} set base_seq = ?", [seq])  # noqa: S608 - ours
    return seq


def _swap(over: Overlay, views: Sequence[View], build_s: float) -> None:
    """Put the new tables in the place of the old, in one transaction. Raises ViewRefused when a grain is not one."""
    connection = over.connection
    known = dict(connection.execute("select name, definition from ops.views").fetchall())
    for view in views:
        if known.get(view.name) != view.definition:
            _check_grain(over, view)
    connection.execute(f"use {sql.quoted(over.database)}")
    try:
        with transaction(connection):
            drop(connection, {view.name for view in views})
            for view in views:
                connection.execute(f"alter table {view.next_table} rename to {sql.quoted(view.name)}")
                index(connection, view)
            note(connection, views, build_s)
            connection.execute("delete from ops.build")
            connection.execute("update ops.checkpoint set views_seq = seq")
    finally:
        connection.execute(f"use {over.name}")


def drop(connection: duckdb.DuckDBPyConnection, names: Set[str]) -> None:
    """Remove the tables and SQL views of these names, where there are any."""
    there = connection.execute(sql.load("projections.catalogue", "named.sql"), {"names": list(names)}).fetchall()
    for schema, kind, name in there:
        connection.execute(f"drop {kind} {sql.quoted(schema)}.{sql.quoted(name)}")


def index(connection: duckdb.DuckDBPyConnection, view: View) -> None:
    """Have the rows of a record or a person found without a scan, if they are not yet."""
    for column in view.indexed:
        name = sql.quoted(f"{view.name}_by_{column}")
        connection.execute(f"create index if not exists {name} on {view.table} ({column})")


def note(connection: duckdb.DuckDBPyConnection, views: Sequence[View], build_s: float) -> None:
    """Write down by which definition each view is kept."""
    rows = [(view.name, view.manifest.version, view.definition, view.manifest_text, view.query) for view in views]
    names, versions, definitions, manifests, queries = map(list, zip(*rows, strict=True))
    connection.execute(sql.load("projections.catalogue", "forget.sql"), {"names": names})
    connection.execute(
        sql.load("projections.catalogue", "note.sql"),
        {
            **{"names": names, "versions": versions, "definitions": definitions},
            **{"manifests": manifests, "queries": queries, "build_s": build_s},
        },
    )


def _check_grain(over: Overlay, view: View) -> None:
    """Raises ViewRefused when two rows agree in what is said to tell them apart."""
    if not view.manifest.grain:
        return
    columns = ", ".join(sql.quoted(name) for name in view.manifest.grain)
    table = over.below(view.next_table)
    found = over.connection.execute(
        f"select {columns}, count(*) from {table} group by {columns} having count(*) > 1 limit 1"  # noqa: S608 - quoted names
    ).fetchall()
    if found:
        rows = found[0][-1]
        raise ViewRefused(view.path / QUERY, f"its grain is no key: {rows} rows agree in {columns}")
