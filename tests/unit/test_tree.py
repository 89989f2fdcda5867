"""The tree over the mirror, in a real DuckDB file: that of the definition, wherever it was stopped, gaps or not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import merkle
from domain.checkpoint import Checkpoint
from infra.duckdb import open_database
from projections import mirror, tree
from projections.tree import Nodes, TreeDamaged
from projections.tree.checking import Checking, Disagreement
from tests.unit.test_merkle import mth

ROWS = """
insert into pii.events (seq, recorded_at, kind, id, version, type, hash, body)
select seq, now(), 'candidate', uuid(), 1, 'sourced', unhex(sha256(body::blob)), body::blob
from (select seq, 'event ' || seq as body from (select unnest($seqs::bigint[]) as seq))
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[DuckDBPyConnection]:
    """An empty mirror."""
    with open_database(tmp_path / "views.duckdb") as connection:
        mirror.prepare(connection)
        tree.prepare(connection)
        yield connection


def entry(seq: int) -> bytes:
    return sha256(f"event {seq}".encode()).digest()


def hold(file: DuckDBPyConnection, seqs: list[int]) -> None:
    """The mirror takes these events in."""
    file.execute(ROWS, {"seqs": seqs})
    file.execute("update ops.checkpoint set seq = $seq, events = events + $more", {"seq": seqs[-1], "more": len(seqs)})


def grown(file: DuckDBPyConnection) -> int:
    *_, size = tree.grow(file)
    return size


def spread(count: int, seed: int = 0) -> list[int]:
    """Seqs with gaps here and there, some longer than what is read in one go."""
    rnd = random.Random(seed)
    seqs, at = [], 0
    for _ in range(count):
        at += rnd.choice([1] * 200 + [2, 17, 70_000])
        seqs.append(at)
    return seqs


def test_an_empty_mirror_has_an_empty_tree(file: DuckDBPyConnection) -> None:
    assert grown(file) == 0
    assert merkle.root(0, Nodes(file)) == merkle.EMPTY_ROOT


@settings(max_examples=15)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=6), st.integers(0, 9))
def test_growing_in_any_steps_gives_the_tree_of_the_definition(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], seed: int
) -> None:
    """Also by another process after each step; every leaf is proved by what was kept."""
    path = tmp_path_factory.mktemp("tree") / "views.duckdb"
    seqs, done = spread(sum(steps), seed), 0
    for step in steps:
        with open_database(path) as file:
            mirror.prepare(file)
            tree.prepare(file)
            hold(file, seqs[done : done + step])
            done += step
            assert grown(file) == done
            assert merkle.root(done, Nodes(file)) == mth([entry(seq) for seq in seqs[:done]])
    with open_database(path) as file:
        for leaf in random.Random(seed).sample(range(done), min(done, 5)):
            nodes = Nodes(file)
            assert nodes.leaf_of(seqs[leaf]) == leaf
            path_ = merkle.inclusion_proof(leaf, done, nodes)
            root = merkle.root(done, nodes)
            assert merkle.proves_inclusion(merkle.leaf_hash(entry(seqs[leaf])), leaf, done, path_, root)
        assert tree.root_of_mirror(file, done) == merkle.root(done, Nodes(file))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DuckDBPyConnection, list[int]]]:
    """A tree with two complete subtrees of height 16."""
    seqs = spread(2 * 65_536 + 300)
    with open_database(tmp_path_factory.mktemp("large") / "views.duckdb") as file:
        mirror.prepare(file)
        tree.prepare(file)
        hold(file, seqs)
        assert grown(file) == len(seqs)
        yield file, seqs


def test_proofs_through_every_kept_height(large: tuple[DuckDBPyConnection, list[int]]) -> None:
    file, seqs = large
    size = len(seqs)
    leaves = [merkle.leaf_hash(entry(seq)) for seq in seqs]
    whole = merkle.Tree()
    for leaf in leaves:
        for _ in whole.append(leaf):
            pass
    kept = file.execute("select height, count(*) from ops.tree group by height order by height").fetchall()
    assert kept == [(8, 513), (16, 2)]
    for index in (0, 255, 256, 65_535, 65_536, size - 301, size - 300, size - 1):
        path = merkle.inclusion_proof(index, size, Nodes(file))
        assert merkle.proves_inclusion(leaves[index], index, size, path, whole.root())
        assert Nodes(file).leaf_of(seqs[index]) == index
    for first in (1, 255, 256, 65_536, 65_537, size - 1):
        proof = merkle.consistency_proof(first, size, Nodes(file))
        old = merkle.root(first, Nodes(file))
        assert merkle.proves_consistency(first, size, old, whole.root(), proof)


def test_an_event_that_the_mirror_does_not_hold_has_no_leaf(file: DuckDBPyConnection) -> None:
    hold(file, [1, 2, 5])
    grown(file)
    assert Nodes(file).leaf_of(5) == 2
    for seq in (0, 3, 6):
        with pytest.raises(LookupError):
            Nodes(file).leaf_of(seq)


def test_the_tree_grows_while_batches_are_applied(file: DuckDBPyConnection) -> None:
    """A batch that is being committed and the tree's own writes do not wait for each other, and neither fails."""
    hold(file, list(range(1, 601)))
    with file.cursor() as writer, file.cursor() as reader:
        writer.begin()
        writer.execute(ROWS, {"seqs": list(range(601, 1_201))})
        writer.execute("update ops.checkpoint set seq = 1200, events = 1200")
        *_, size = tree.grow(reader)
        assert size == 600
        writer.commit()
        *_, size = tree.grow(reader)
        assert size == 1_200
    assert merkle.root(1_200, Nodes(file)) == mth([entry(seq) for seq in range(1, 1_201)])


def test_a_row_without_hash_is_named(file: DuckDBPyConnection) -> None:
    hold(file, [1, 2, 3])
    file.execute("update pii.events set hash = null where seq = 2")
    with pytest.raises(TreeDamaged, match="event 2 "):
        grown(file)


def test_a_tree_with_a_hole_is_not_gone_on_with(file: DuckDBPyConnection) -> None:
    hold(file, list(range(1, 1_000)))
    grown(file)
    file.execute("delete from ops.tree where number = 1")
    with pytest.raises(TreeDamaged):
        merkle.root(999, Nodes(file))
    tree.forget(file)
    assert grown(file) == 999
    assert merkle.root(999, Nodes(file)) == mth([entry(seq) for seq in range(1, 1_000)])


# ── the check ──────────────────────────────────────────────────────────────────────────────────────


def checked(file: DuckDBPyConnection, signed: Checkpoint | None = None, window: int = 1_000) -> list[Disagreement]:
    checking = Checking(file, signed)
    rows = file.execute("select seq, hash from pii.events order by seq").fetchall()
    found = [d for at in range(0, len(rows), window) for d in checking.add(rows[at : at + window])]
    return found + list(checking.end())


def test_a_sound_tree_and_a_sound_checkpoint_give_no_finding(large: tuple[DuckDBPyConnection, list[int]]) -> None:
    file, seqs = large
    for size in (1, 256, 65_536, 65_537, len(seqs)):
        signed = Checkpoint("log", size, merkle.root(size, Nodes(file)))
        assert checked(file, signed, 10_000) == []


@pytest.mark.parametrize("window", [1, 100, 256, 1_000])
def test_a_changed_event_is_found_where_it_is(file: DuckDBPyConnection, window: int) -> None:
    hold(file, list(range(1, 1_001)))
    grown(file)
    signed = Checkpoint("log", 900, merkle.root(900, Nodes(file)))
    file.execute("update pii.events set hash = unhex(sha256('another')) where seq = 300")
    found = checked(file, signed, window)
    assert [(d.first_seq, d.last_seq) for d in found] == [(257, 512), (1, 900)]


def test_a_changed_node_is_found_at_its_height(large: tuple[DuckDBPyConnection, list[int]]) -> None:
    file, seqs = large
    with file.cursor() as cursor:
        cursor.begin()
        cursor.execute("update ops.tree set hash = unhex(sha256('x')) where (height, number) in ((8, 3), (16, 1))")
        found = checked(cursor, None, 10_000)
        cursor.rollback()
    assert [(d.first_seq, d.last_seq) for d in found] == [
        (seqs[767] + 1, seqs[1_023]),
        (seqs[65_535] + 1, seqs[2 * 65_536 - 1]),
    ]


def test_a_checkpoint_over_more_than_there_is_is_found(file: DuckDBPyConnection) -> None:
    hold(file, [1, 2, 3])
    found = checked(file, Checkpoint("log", 4, bytes(32)))
    assert [d.detail for d in found] == ["the last checkpoint covers 4 events, the mirror holds 3"]


def test_a_file_without_a_tree_is_checked_against_the_checkpoint_alone(tmp_path: Path) -> None:
    with open_database(tmp_path / "views.duckdb") as file:
        mirror.prepare(file)
        hold(file, list(range(1, 400)))
        root = mth([entry(seq) for seq in range(1, 400)])
        assert checked(file, Checkpoint("log", 399, root)) == []
        assert len(checked(file, Checkpoint("log", 398, root))) == 1
