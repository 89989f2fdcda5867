"""*As of*: the answer about T, asked later, is the one that was given at T; and *known at* gives it when that fails."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from projections import queries
from projections.registry import VIEWS
from tests.unit.histories import (
    CANDIDATES,
    CHANNELS,
    EPOCH,
    PURPOSES,
    RECORDED_AT,
    UNHEARD,
    Recorded,
    anything,
    examples,
    fresh,
    histories,
    merges,
    recorded,
    table,
)

Answer = Callable[[DuckDBPyConnection, datetime], Any]


def rows_of(select: str) -> Answer:
    """The rows of a SELECT that takes the time as `$t`."""
    return lambda cursor, t: sorted(cursor.execute(select, {"t": t}).fetchall(), key=repr)


def standings(cursor: DuckDBPyConnection, t: datetime) -> Any:
    """Every person's standing on every channel for every purpose."""
    asked = product(CANDIDATES, [*CHANNELS, UNHEARD[0]], [*PURPOSES, UNHEARD[1]])
    canonical = {who: queries.canonical(cursor, who) or who for who in CANDIDATES}
    return {
        (who, channel, purpose): queries.contactability(cursor, canonical[who], channel, purpose, t)["status"]
        for who, channel, purpose in asked
    }


def scores(cursor: DuckDBPyConnection, t: datetime) -> Any:
    """Every person's score and flags; names are today's."""
    rows = queries.engagement_top(cursor, t, 100)
    return [{k: v for k, v in row.items() if not k.endswith("_name")} for row in rows if row["ceiling_seq"]]


INTERVALS = "valid_from <= $t and (valid_to is null or $t < valid_to)"

STORED: dict[str, list[Answer]] = {
    "gdpr_audit": [standings],
    "engagement_score": [
        scores,
        rows_of(
            "select canonical_id, seq, points, counted, made_by, reason, raw from engagement_score "
            "where occurred_at <= $t"
        ),
    ],
    "facts": [rows_of(f"select canonical_id, attribute, value, valid_from, from_seq from pii.facts where {INTERVALS}")],  # noqa: S608
    "pool_membership": [
        rows_of(
            "select pool_id, canonical_id, joined_at from pool_membership "
            "where joined_at <= $t and (left_at is null or $t < left_at)"
        )
    ],
}
"""How each stored view is asked about a time."""

OF_TODAY = {"identity", "pools", "profile", "pool_rule", "journey", "outreach"}
"""Views of the latest word, or of what came of something: they are not asked about a time. *Known at* holds for all."""


def plain(name: str, schema: str) -> Answer:
    """What a SQL view shows with `as_of` set."""

    def ask(cursor: DuckDBPyConnection, t: datetime) -> Any:
        cursor.execute("set variable as_of = $t", {"t": t})
        try:
            return sorted(cursor.execute(f"from {schema}.{name}").fetchall(), key=repr)
        finally:
            cursor.execute("reset variable as_of")

    return ask


ANSWERS = {**STORED, **{view.name: [plain(view.name, view.schema)] for view in VIEWS if not view.stored}}


def test_every_registered_view_is_asked_or_of_today() -> None:
    assert {view.name for view in VIEWS} == ANSWERS.keys() | OF_TODAY


def answers(cursor: DuckDBPyConnection, t: datetime) -> dict[str, list[Any]]:
    """What every view says about `t`."""
    return {name: [ask(cursor, t) for ask in asked] for name, asked in ANSWERS.items()}


def in_time(history: Iterable[Recorded]) -> list[Recorded]:
    """The same events, each happening hours after the one before, and taken by the ledger in that order."""
    return recorded(
        (r.id, r.event.model_copy(update={"occurred_at": EPOCH + timedelta(hours=7 * n)}))
        for n, r in enumerate(history)
    )


@examples(3)
@given(st.data())
def test_asked_later_the_answer_as_of_then_is_the_one_that_was_given_then(
    database: DuckDBPyConnection, data: st.DataObject
) -> None:
    """When nothing came late, and nobody was found to be somebody else, which is retroactive."""
    history = in_time(data.draw(histories(*anything[:-1], pools=True)))
    then = data.draw(st.integers(1, len(history)))
    t = history[then - 1].event.occurred_at
    projector = fresh(database)
    projector.apply(table(history[:then]))
    given_then = answers(database, t)
    projector.apply(table(history))
    assert answers(database, t) == given_then


@examples(3)
@given(st.data())
def test_known_at_gives_the_answer_that_was_given_then_whatever_came_late(
    database: DuckDBPyConnection, data: st.DataObject
) -> None:
    history = data.draw(histories(*anything, merges, pools=True))
    then = data.draw(st.integers(1, len(history)))
    t = EPOCH + timedelta(days=data.draw(st.integers(0, 40)))
    projector = fresh(database)
    projector.apply(table(history[:then]))
    given_then = answers(database, t)
    projector.apply(table(history))
    names = [view.name for view in VIEWS]
    for known_at in (then, RECORDED_AT + timedelta(seconds=then)):
        with projector.known.of_all(known_at, names) as cursor:
            assert answers(cursor, t) == given_then
    projector.known.close()
