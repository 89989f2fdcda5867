"""The law of every view: kept up batch by batch, it equals the same SELECT run over everything."""

from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from projections import rebuild
from tests.unit.histories import Recorded, anything, contents, cuts, examples, fresh, histories, merges, table


@examples(8)
@given(st.data())
def test_incremental_equals_whole(database: DuckDBPyConnection, data: st.DataObject) -> None:
    """Any batches, with repeats, late facts, merges and unmerges: the same rows as a rebuild, and as one batch."""
    history = data.draw(histories(*anything, merges, pools=True))
    projector = fresh(database)
    for start, end in data.draw(cuts(len(history))):
        projector.apply(table(history[start:end]))
    incremental = contents(database)
    rebuild(projector)
    assert contents(database) == incremental
    fresh(database).apply(table(history))
    assert contents(database) == incremental


@examples(5)
@given(st.data())
def test_views_do_not_depend_on_how_the_streams_of_aggregates_interleave(
    database: DuckDBPyConnection, data: st.DataObject
) -> None:
    """Without merges, and when no two events happened at once, only what happened counts, not when it arrived."""
    history = data.draw(histories(*anything[:-1], pools=True, distinct=True))
    fresh(database).apply(table(history))
    first = contents(database, seqs=False)
    projector = fresh(database)
    other = data.draw(interleaved(history))
    for start, end in data.draw(cuts(len(other))):
        projector.apply(table(other[start:end]))
    assert contents(database, seqs=False) == first


@st.composite
def interleaved(draw: st.DrawFn, history: list[Recorded]) -> list[Recorded]:
    """The same streams, each in its own order, taken up by the ledger in another."""
    order = draw(st.permutations([r.id for r in history]))
    streams = {id_: iter([r for r in history if r.id == id_]) for id_ in order}
    taken = [next(streams[id_]) for id_ in order]
    return [Recorded(n, r.kind, r.id, r.version, r.event) for n, r in enumerate(taken, start=1)]
