"""Identity in SQL equals `domain.identity.Forest`."""

from duckdb import DuckDBPyConnection
from hypothesis import given

from domain.identity import Edge, Forest
from projections import queries
from tests.unit.histories import Recorded, examples, fresh, histories, merges, table, tags


def forest(history: list[Recorded]) -> Forest:
    """By the latest word on each duplicate."""
    last = {r.id: r for r in history if r.event.type in ("merged", "unmerged")}
    return Forest.of(Edge(r.id, r.event.into, r.seq) for r in last.values() if r.event.type == "merged")


@examples(12)
@given(history=histories(merges, merges, tags))
def test_identity_equals_the_forest(database: DuckDBPyConnection, history: list[Recorded]) -> None:
    """The same canonical record and the same way of joining, chains, cycles and self-merges included."""
    fresh(database).apply(table(history))
    expected = forest(history)
    rows = database.execute("select candidate_id, canonical_id from identity").fetchall()
    found = {candidate_id.hex: canonical_id.hex for candidate_id, canonical_id in rows}
    assert found == {id_: expected.canonical(id_) for id_ in {r.id for r in history}}
    for id_ in found:
        kept = queries.forest(database, id_)
        members = set(queries.records(database, id_))
        assert members == expected.members(id_) & found.keys()
        assert kept.edges == {d: e for d, e in expected.edges.items() if d in members}
