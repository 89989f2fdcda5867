"""What differs from what was told: looking only at whom something may have moved finds as much as looking at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain.band import band_of
from projections import Projector, announcing
from projections.announcing import BandMove, Move, Told
from tests.unit.histories import (
    EPOCH,
    anything,
    cuts,
    examples,
    fresh,
    histories,
    merges,
    rules,
    table,
    timed_rules,
)

NEVER = EPOCH - timedelta(days=1)


def begun(database: DuckDBPyConnection) -> Projector:
    """An empty mirror, of which nothing was told."""
    projector = fresh(database)
    announcing.prepare(database)
    announcing.begin(database, Told("feed", 0), None, None)
    return projector


def fold(database: DuckDBPyConnection, seq: int, moves: list[Move], bands: list[BandMove]) -> None:
    announcing.fold(
        database,
        seq,
        ((m.pool_id, m.canonical_id, m.change) for m in moves),
        ((b.canonical_id, b.band) for b in bands),
    )


def kept(database: DuckDBPyConnection) -> list[list[tuple[Any, ...]]]:
    tables = ("announced", "announced_members", "announced_bands")
    return [database.execute(f"from ops.{name} order by all").fetchall() for name in tables]


@examples(8)
@given(st.data())
def test_whom_nothing_touched_has_not_moved(database: DuckDBPyConnection, data: st.DataObject) -> None:
    """Any history in any batches, looked at at rising times, some of them without an event between."""
    history = data.draw(histories(*anything, merges, pools=True, rule=rules | timed_rules))
    projector, after, before, told = begun(database), 0, NEVER, list[Move]()
    for _, end in data.draw(cuts(len(history))):
        projector.apply(table(history[:end]))
        for days in data.draw(st.lists(st.floats(0, 8), min_size=1, max_size=2)):
            at, until = before + timedelta(days=days), announcing.views_seq(database)
            persons = announcing.touched(database, after, until, before, at) if before != NEVER else None
            moves = announcing.moves(database, at, persons)
            told += moves
            fold(database, len(told), moves, [])
            assert announcing.moves(database, at, None) == []
            after, before = until, at
    inside = set[tuple[str, str]]()
    for move in told:
        key = move.pool_id, move.canonical_id
        assert (key in inside) == (move.change == "left"), "nobody joins twice, or leaves who is not in"
        inside ^= {key}


@examples(5)
@given(st.data())
def test_the_same_messages_fold_to_the_same_however_they_are_cut(
    database: DuckDBPyConnection, data: st.DataObject
) -> None:
    """And to what the views of that time hold, from which it can be computed again."""
    history = data.draw(histories(*anything, merges, pools=True))
    at = EPOCH + timedelta(days=data.draw(st.integers(0, 30)))
    begun(database).apply(table(history))
    moves, bands = announcing.moves(database, at, None), announcing.band_moves(database, at)
    for move in bands:
        assert (move.was, move.band) == ("cold", band_of(move.score)) or abs(move.score - 20) < 0.1
    cut = data.draw(st.integers(0, len(moves)))
    fold(database, 1, moves[:cut], [])
    fold(database, 9, moves[cut:], bands)
    by_parts = kept(database)
    announcing.begin(database, Told("feed", 0), None, None)
    fold(database, 9, moves, bands)
    assert kept(database) == by_parts
    with database.cursor() as then:
        announcing.begin(database, Told("feed", 9), then, at)
    assert kept(database) == by_parts
    assert announcing.moves(database, at, None) == []
    assert announcing.band_moves(database, at) == []
