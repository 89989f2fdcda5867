"""Identity in SQL equals `domain.identity.Forest`."""

from duckdb import DuckDBPyConnection
from hypothesis import given

from domain.candidate import Merged
from domain.identity import Edge, Forest
from projections import queries
from tests.unit.histories import EPOCH, Recorded, examples, fresh, histories, merges, recorded, table, tags


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
        assert id_ in queries.ever_merged(database, id_)
        assert kept.edges == {d: e for d, e in expected.edges.items() if d in members}


def test_a_merge_of_which_nothing_is_left_names_nobody(database: DuckDBPyConnection) -> None:
    """Its bytes were purged, or cannot be read; whoever else was merged with the record is found all the same."""
    one, other, third = "a" * 32, "b" * 32, "c" * 32
    into = [(one, other), (third, one)]
    at = {"actor": "user:x", "occurred_at": EPOCH}
    fresh(database).apply(table(recorded([(id_, Merged.model_validate(at | {"into": by})) for id_, by in into])))
    assert queries.ever_merged(database, one) == [one, other, third]
    database.execute("update pii.events set target_id = null where id = ?::uuid", [one])
    assert queries.ever_merged(database, one) == [one, third]
