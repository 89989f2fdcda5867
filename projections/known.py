"""What the views were when the ledger held less: the same SELECTs over what was recorded by then."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from duckdb import DuckDBPyConnection

from projections import queries, sql
from projections.computing import PART_EVENTS, compute_part, define
from projections.one_at_a_time import OneAtATime
from projections.overlay import Overlay, overlay
from projections.view import View

KEPT = 2
"""So many states of knowledge are kept computed for everybody, the latest asked for."""

KnownAt = datetime | int
"""By when the ledger had taken the events that count: a time, or a position."""


@dataclass
class _State:
    """One state of knowledge: an overlay with the views computed so far."""

    over: Overlay
    stack: ExitStack
    views: list[View] = field(default_factory=list)
    readers: int = 0
    """Who reads from it, or computes in it."""
    outdated: bool = False

    def lacks(self, views: Sequence[View]) -> list[View]:
        """Those of the views that are not computed."""
        there = {view.name for view in self.views}
        return [view for view in views if view.name not in there]


class Known:
    """Views at earlier states of knowledge, computed when asked for."""

    def __init__(self, cursor: Callable[[], DuckDBPyConnection], views: Callable[[], Sequence[View]]) -> None:
        self._cursor = cursor
        self._views = views
        self._lock = threading.Lock()
        self._kept: dict[KnownAt, _State] = {}
        self.computing = OneAtATime()
        """For this, and whatever else is computed over everybody in the same file."""

    @contextmanager
    def of_person(self, known_at: KnownAt, candidate_id: str, names: Sequence[str]) -> Iterator[DuckDBPyConnection]:
        """A cursor on which the views in `names` hold what they held of one person then, and no more."""
        with closing(self._cursor()) as connection:
            records = queries.ever_merged(connection, candidate_id)
            with overlay(connection) as over:
                _look_back(over, known_at, records)
                _compute(over, _needed(self._views(), names), parts=1)
                yield connection

    @contextmanager
    def of_all(
        self, known_at: KnownAt, names: Sequence[str], wait_s: float | None = None
    ) -> Iterator[DuckDBPyConnection]:
        """A cursor on which the views in `names` hold what they held then.

        The first question about a state of knowledge takes as long as a rebuild, the next ones do not. A time that is
        not over yet is about everything there is, and the views in use answer it. Raises ComputingBusy when there is
        something to be computed, and something else is for longer than `wait_s`; without a time it is waited for.
        Raises ConnectionException when everything is forgotten meanwhile.
        """
        if not self._is_over(known_at):
            with closing(self._cursor()) as reader:
                yield reader
            return
        views = _needed(self._views(), names)
        state = self._at_hand(known_at, views) or self._computed(known_at, views, wait_s)
        try:
            with closing(self._cursor()) as reader:
                reader.execute(f"use {state.over.name}")
                yield reader
        finally:
            self._left(state)

    def close(self) -> None:
        """Forget everything: events of the past were put in again, or the file is given up.

        What is being computed is given up, too; it does not take as long as it would have taken.
        """
        self.computing.end()
        with self._lock:
            for state in self._kept.values():
                state.outdated = True
                if not state.readers:
                    state.stack.close()
            self._kept.clear()

    def _is_over(self, known_at: KnownAt) -> bool:
        """Whether no event to come can belong to this state of knowledge."""
        with closing(self._cursor()) as connection:
            rows = connection.execute(sql.load("projections.mirror", "queries/latest.sql")).fetchall()
        seq, recorded_at = rows[0] if rows else (0, None)
        return known_at <= seq if isinstance(known_at, int) else recorded_at is not None and known_at < recorded_at

    def _at_hand(self, known_at: KnownAt, views: Sequence[View]) -> _State | None:
        """The state for one reader more, if all of these views are computed in it."""
        with self._lock:
            state = self._kept.get(known_at)
            if state is None or state.lacks(views):
                return None
            self._kept[known_at] = self._kept.pop(known_at)  # the latest asked for
            state.readers += 1
            return state

    def _computed(self, known_at: KnownAt, views: Sequence[View], wait_s: float | None) -> _State:
        """The state for one reader more, with these views computed in it."""
        with self.computing.turn(wait_s) as turn:
            if (found := self._at_hand(known_at, views)) is not None:
                return found  # by whoever's turn it was before
            with self._lock:
                state = self._kept.get(known_at)
                if state is not None:
                    state.readers += 1
            if state is None:
                state = self._look_back(known_at)
            try:
                missing = state.lacks(views)
                with turn.on(state.over.connection):
                    events: int = sql.value(state.over.connection, "select events from ops.checkpoint")
                    _compute(state.over, missing, parts=1 + events // PART_EVENTS)
            except BaseException:
                self._give_up(known_at, state)
                raise
            with self._lock:
                state.views += missing
                if turn.is_ended or state.outdated:
                    state.outdated = True
                else:
                    self._kept.pop(known_at, None)
                    self._kept[known_at] = state
                    self._forget_some()
            return state

    def _look_back(self, known_at: KnownAt) -> _State:
        """A new state without views, and with one reader."""
        with ExitStack() as stack:
            connection = stack.enter_context(closing(self._cursor()))
            over = stack.enter_context(overlay(connection))
            _look_back(over, known_at)
            return _State(over, stack.pop_all(), readers=1)

    def _give_up(self, known_at: KnownAt, state: _State) -> None:
        """What was computed in part is of no use to anybody."""
        with self._lock:
            state.outdated = True
            if self._kept.get(known_at) is state:
                del self._kept[known_at]
        self._left(state)

    def _left(self, state: _State) -> None:
        with self._lock:
            state.readers -= 1
            if state.outdated and not state.readers:
                state.stack.close()

    def _forget_some(self) -> None:
        for known_at in [at for at, state in self._kept.items() if not state.readers][: max(0, len(self._kept) - KEPT)]:
            self._kept.pop(known_at).stack.close()


def _needed(views: Sequence[View], names: Sequence[str]) -> list[View]:
    """The views of these names and those they rest on, in order."""
    wanted = set(names)
    for view in reversed(views):
        if view.name in wanted:
            wanted |= {below.name for below in view.depends_on}
    return [view for view in views if view.name in wanted]


def _look_back(over: Overlay, known_at: KnownAt, records: Sequence[str] | None = None) -> None:
    """Of the mirror only what was recorded by then remains; with `records`, of candidates only those."""
    database = over.connection
    database.execute(f"create table {over.name}.known as select ? as at_time, ? as at_seq", _bounds(known_at))
    database.execute(f"create table {over.name}.concerned as select unnest(?::uuid[]) as id", [list(records or ())])
    only = "" if records is None else f" and (kind = 'pool' or id in (from {over.name}.concerned))"
    over.point(
        "pii.events",
        f"select e.* from {over.below('pii.events')} e, {over.name}.known k "  # noqa: S608 - our own names
        f"where (k.at_time is null or recorded_at <= k.at_time) and (k.at_seq is null or seq <= k.at_seq){only}",
    )
    for step in ("events", "as_of"):
        database.execute(sql.load("projections.mirror", step + ".sql"))


def _bounds(known_at: KnownAt) -> list[KnownAt | None]:
    return [None, known_at] if isinstance(known_at, int) else [known_at, None]


def _compute(over: Overlay, views: Sequence[View], parts: int) -> None:
    def place(view: View) -> str:
        return over.above(f"{sql.quoted(view.schema)}.{sql.quoted(view.name + '__known')}")

    stored = [view for view in views if view.stored]
    define(over, stored, place)
    for part in range(parts + 1):
        compute_part(over, stored, place, part, parts)
    for view in views:
        if not view.stored:
            over.point(view.table, view.query)
