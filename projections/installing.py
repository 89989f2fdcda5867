"""Which definition of each view is kept, when a file is opened: the one wanted, or the one before where that fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb

from projections import sql
from projections.computing import Progress
from projections.rebuilding import build, drop, note
from projections.registry import resting_on
from projections.transaction import transaction
from projections.view import MANIFEST, Manifest, View, ViewRefused, parse

if TYPE_CHECKING:
    from projections.projector import Projector


STRUCTURAL = {"identity", "pools", "profile"}
"""Views that keeping up the others rests on."""


def install(
    projector: Projector, wanted: Sequence[View], on_progress: Progress, refused_already: Sequence[ViewRefused] = ()
) -> None:
    """Sets `projector.views` and `projector.refused`; builds what is new or changed, and drops what is gone.

    `refused_already` are definitions of which not even the text could be read.

    Raises ViewRefused for a view that everything rests on and of which there is no version to go on with.
    """
    connection = projector.connection
    folders = {view.name: view for view in wanted} | {error.view: _unread(error) for error in refused_already}
    before = _kept_before(connection, folders)
    refused = {error.view: error for error in refused_already}
    chosen = {
        name: before.pop(name) if name in refused else view
        for name, view in folders.items()
        if name not in refused or name in before
    }
    while True:
        views = _resolved(chosen, refused)
        made_by = dict(connection.execute("select name, definition from ops.views").fetchall())
        stale = [view for view in views if made_by.get(view.name) != view.definition]
        try:
            if any(view.stored for view in stale):
                with projector.build_lock:
                    build(projector, [view for view in stale if view.stored], on_progress)
            _describe_anew(connection, [view for view in views if view.stored and view not in stale])
            _show(connection, [view for view in stale if not view.stored])
            break
        except ViewRefused as error:
            name = error.view
            refused.setdefault(name, error)
            earlier = before.pop(name, None)
            if earlier is not None and earlier != replace(chosen[name], depends_on=earlier.depends_on):
                chosen[name] = earlier
            else:
                del chosen[name]
    forget(connection, made_by.keys() - {view.name for view in views} - {"mirror"})
    for name in STRUCTURAL & refused.keys():
        if name not in {view.name for view in views}:
            raise refused[name]
    projector.views, projector.refused = tuple(views), tuple(refused.values())


def give_up(connection: duckdb.DuckDBPyConnection, views: Sequence[View], error: ViewRefused) -> tuple[View, ...]:
    """What is kept of `views` without the one at fault and those that rest on it, which are dropped: the next start
    builds them anew, or says again what is wrong.

    Raises `error` when everything rests on one of them.
    """
    fault = next(view for view in views if view.name == error.view)
    gone = {view.name for view in resting_on(fault, views)}
    if gone & STRUCTURAL:
        raise error
    forget(connection, gone)
    return tuple(view for view in views if view.name not in gone)


def forget(connection: duckdb.DuckDBPyConnection, names: Set[str]) -> None:
    """Drop what is kept under these names."""
    if names:
        with transaction(connection):
            drop(connection, names)
            connection.execute(sql.load("projections.catalogue", "forget.sql"), {"names": list(names)})


def _unread(error: ViewRefused) -> View:
    """Where a view is that cannot be read, to be filled with the text it had."""
    return View(error.view, Manifest(description="unread", columns={}), "", error.folder)


def _kept_before(connection: duckdb.DuckDBPyConnection, wanted: Mapping[str, View]) -> dict[str, View]:
    """The views of these names as the file's tables were made, each with its own text."""
    rows = connection.execute("select name, manifest, query from ops.views where query is not null").fetchall()
    texts = {name: (manifest, query) for name, manifest, query in rows}
    found = {}
    for view in wanted.values():
        if view.name in texts:
            manifest, query = texts[view.name]
            parsed = parse(view.path / MANIFEST, manifest)
            found[view.name] = replace(view, manifest=parsed, manifest_text=manifest, query=query)
    return found


def _resolved(chosen: Mapping[str, View], refused: dict[str, ViewRefused]) -> list[View]:
    """The views, each resting on those that were chosen; without those that rest on one that was not."""
    found: dict[str, View] = {}
    left = dict(chosen)
    while ready := [v for v in left.values() if all(name in found for name in v.manifest.depends_on)]:
        for view in ready:
            found[view.name] = replace(view, depends_on=tuple(found[name] for name in view.manifest.depends_on))
            del left[view.name]
    for view in left.values():
        missing = next(name for name in view.manifest.depends_on if name not in found)
        refused.setdefault(view.name, ViewRefused(view.path / MANIFEST, f"it rests on {missing}, which is refused"))
    return list(found.values())


def _describe_anew(connection: duckdb.DuckDBPyConnection, views: Sequence[View]) -> None:
    """Put other descriptions beside tables that stay as they are. Raises ViewRefused."""
    texts = dict(connection.execute("select name, manifest from ops.views").fetchall())
    for view in views:
        if texts[view.name] != view.manifest_text:
            with transaction(connection):
                view.describe(connection, view.table, _columns(connection, view))
                connection.execute("update ops.views set manifest = ? where name = ?", [view.manifest_text, view.name])


def _show(connection: duckdb.DuckDBPyConnection, views: Sequence[View]) -> None:
    """Create the SQL views, all or none. Raises ViewRefused."""
    if not views:
        return
    with transaction(connection):
        drop(connection, {view.name for view in views})
        for view in views:
            view.check(connection)
            view.prepare(connection)
            try:
                connection.execute(f"create view {view.table} as\n{view.query}")
                columns = _columns(connection, view)
            except duckdb.Error as error:
                raise view.refused(error) from None
            view.describe(connection, view.table, columns)
        note(connection, views, 0.0)


def _columns(connection: duckdb.DuckDBPyConnection, view: View) -> list[str]:
    return [row[0] for row in connection.execute(f"describe {view.table}").fetchall()]
