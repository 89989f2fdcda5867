"""Recomputing what new events affect: their pools, their persons, everyone in those pools."""

from collections.abc import Callable, Sequence

import duckdb
from duckdb import DuckDBPyConnection

from projections import scope, sql
from projections.overlay import attach
from projections.view import IN_SCOPE, View

FAULTS = (
    *(duckdb.IOException, duckdb.OutOfMemoryException, duckdb.TransactionException, duckdb.InterruptException),
    *(duckdb.ConnectionException, duckdb.FatalException, duckdb.InternalException),
)
"""Errors that say nothing about the definition at work: the disk, the memory, the database."""


def compute(connection: DuckDBPyConnection, view: View, place: str) -> None:
    """Add the rows in scope to `place`. Raises ViewRefused when the query fails on them."""
    _run(connection, view, f"insert into {place} by name\n{view.query}")


def _run(connection: DuckDBPyConnection, view: View, statement: str | duckdb.Statement) -> None:
    try:
        connection.execute(statement)
    except FAULTS:
        raise
    except duckdb.Error as error:
        raise view.refused(error, of_data=True) from None


class Upkeep:
    """Keeps views equal to the mirror, as new events come into it, on one connection.

    Views by person rest on the rows of other views for the same persons, which have just been computed or are few. They
    are kept at hand in temporary tables, over which an overlay lays the views' names: in the views' own tables they
    would have to be found again by each SELECT.
    """

    def __init__(
        self, connection: DuckDBPyConnection, database: str, views: Sequence[View], place: Callable[[View], str]
    ) -> None:
        """`views` are those to keep, `place` says in which table, by a name that holds everywhere."""
        self._connection = connection
        self._views = [view for view in views if view.stored]
        self._over = attach(connection, database, "upkeep")
        self._place = {view.name: place(view) for view in self._views}
        below = {view.name: view for kept in self._views for view in kept.depends_on if kept.by_person and view.stored}
        for name, view in below.items():
            self._place.setdefault(name, self._over.below(view.table))
        self._below = {name: view for name, view in below.items() if "canonical_id" in view.manifest.columns}
        self._parsed: dict[tuple[str, str], duckdb.Statement] = {}
        scope.begin(connection)
        for name, view in self._below.items():
            connection.execute(
                f"create or replace temp table {_at_hand(name)} as from {self._place[name]} with no data"
            )
            self._over.point(view.table, f"from temp.{_at_hand(name)}")

    def close(self) -> None:
        """Let go of what was made for it."""
        self._over.detach()

    def refresh(self) -> None:
        """Recompute what the events in `scope_new` affect. Raises ViewRefused when a query fails on the rows."""
        connection = self._connection
        scope.run(connection, "records")
        types, begins, pools = connection.execute(sql.load("projections.scope", "moved.sql")).fetchall()[0]
        affected = [
            view
            for view in self._views
            if view.looks_at(frozenset(types or ())) or (begins and view.keys != ("pool_id",))
        ]
        of_pools = pools or any(not view.by_person and "pool_id" in view.keys for view in affected)
        scope.run(connection, "rows_and_pools" if of_pools else "rows")
        scope.run(connection, "usable")
        if pools:
            scope.run(connection, "pools_changed")
        for view in affected:
            if not view.by_person:
                self._recompute(view)
        scope.run(connection, "persons")
        scope.run(connection, "audit_events")
        scope.run(connection, "pools_all")
        with self._over.used():
            self._of_persons([view for view in affected if view.by_person])
        if pools:
            scope.run(connection, "pools_changed")
            scope.run(connection, "others")
            for view in affected:
                if {"canonical_id", "pool_id"} <= set(view.keys):
                    self._recompute(view)

    def _of_persons(self, affected: Sequence[View]) -> None:
        """Recompute the rows of the persons in scope."""
        for name in {below.name for view in affected for below in view.depends_on} & self._below.keys():
            if name not in {view.name for view in affected}:
                self._look_up(name)
        for view in affected:
            self._recompute(view, at_hand=view.name in self._below)

    def _look_up(self, name: str) -> None:
        """Put at hand what the view has of the persons in scope."""
        self._connection.execute(
            f"create or replace temp table {_at_hand(name)} as from {self._place[name]} "  # noqa: S608 - our own words
            "where canonical_id in (select canonical_id from scope_persons)"
        )

    def _recompute(self, view: View, *, at_hand: bool = False) -> None:
        self._delete(view)
        into = f"insert into {self._place[view.name]} by name"
        if at_hand:
            self._run(view, f"create or replace temp table {_at_hand(view.name)} as")
            self._connection.execute(f"{into} from temp.{_at_hand(view.name)}")
        else:
            self._run(view, into)

    def _run(self, view: View, lead: str) -> None:
        """The view's query behind `lead`. Parsed once: that is up to a seventh of what it costs over a few rows."""
        statement = self._parsed.get((view.name, lead))
        if statement is None:
            (statement,) = self._connection.extract_statements(f"{lead}\n{view.query}")
            self._parsed[view.name, lead] = statement
        _run(self._connection, view, statement)

    def _delete(self, view: View) -> None:
        affected = " and ".join(IN_SCOPE[key] for key in view.keys)
        self._connection.execute(f"delete from {self._place[view.name]} where {affected}")  # noqa: S608 - our own words


def _at_hand(name: str) -> str:
    return sql.quoted(f"at_hand_{name}")
