"""A node killed at any moment of catch-up, rebuild, swap or publishing goes on where the last whole step ended."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from infra.duckdb import DatabaseLocked, open_database
from projections import Projector, rebuild
from tests.benchmarks.history import batches
from tests.unit.histories import contents

EVENTS, BATCH = 3_000, 300
ROUNDS = 60 if os.environ.get("RAPPORT_SOAK") else 4

WORK = f"""
import random, sys
from pathlib import Path
from infra.duckdb import open_database
from projections import Projector, computing, rebuild, rebuilding
from projections.publishing.snapshot import publish
from tests.benchmarks.history import batches

rebuilding.PART_EVENTS = 300
rebuilding.CLOSE_EVENTS = 100
path, chance = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
print('open', flush=True)
projector = Projector(open_database(path))
for batch in batches({EVENTS}, {BATCH}):
    match chance.randrange(4):
        case 0: rebuild(projector)
        case 1: rebuild(projector, 'engagement_score')
        case 2:
            with projector.cursor() as cursor:
                publish(cursor, path.with_name('published.duckdb'))
    if chance.random() < 0.5:
        projector.fill(batch)
    else:
        projector.apply(batch)
projector.settle()
rebuild(projector)
"""


def at_work(path: Path, seed: int) -> subprocess.Popen[str]:
    """A process that catches up, rebuilds and publishes in an order of its own, and says so when it begins."""
    return subprocess.Popen([sys.executable, "-c", WORK, str(path), str(seed)], stdout=subprocess.PIPE, text=True)


def test_sigkill_at_any_moment_leaves_neither_loss_nor_double_nor_hole(tmp_path: Path) -> None:
    """After each kill readers find every view whole, at one position; what is published is whole, too."""
    path, published = tmp_path / "rapport.duckdb", tmp_path / "published.duckdb"
    seed = int(os.environ.get("RAPPORT_SEED", random.randrange(10**6)))
    print("RAPPORT_SEED", seed)
    chance = random.Random(seed)
    for round_ in range(ROUNDS):
        process = at_work(path, seed + round_)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        time.sleep(chance.uniform(0.0, 2.5))
        if round_ == 1 and process.poll() is None:
            with pytest.raises(DatabaseLocked):
                open_database(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        _check(path)
        if published.exists():
            _check_published(published)
        if chance.random() < 0.1:
            path.unlink()
    connection = open_database(path)
    projector = Projector(connection)
    for batch in batches(EVENTS, BATCH * 3):
        projector.apply(batch)
    seqs = "select count(*), count(distinct seq), max(seq) from events"
    assert connection.execute(seqs).fetchall() == [(EVENTS, EVENTS, EVENTS)]
    incremental = contents(connection)
    rebuild(projector)
    assert contents(connection) == incremental
    connection.close()


def _check(path: Path) -> None:
    """As the file was left, before anything mends it: the mirror without hole or double, the views at their seq."""
    if not path.exists():
        return
    connection = open_database(path)
    try:
        if not connection.execute("select 1 from duckdb_tables() where table_name = 'profile'").fetchall():
            return  # killed before there was anything
        (seq, events, views_seq), *_ = connection.execute(
            "select seq, events, views_seq from ops.checkpoint"
        ).fetchall()
        found = connection.execute("select count(*), count(distinct seq), coalesce(max(seq), 0) from events").fetchall()
        assert found == [(events, events, seq)], "the mirror and its checkpoint"
        assert views_seq <= seq
        assert connection.execute("select count(distinct name) = count(*) from ops.views").fetchall() == [(True,)]
        left = contents(connection)
        projector = Projector(connection)
        assert projector.checkpoint == seq
        with projector.known.of_all(views_seq, [view.name for view in projector.views]) as then:
            assert left == contents(then), "the views at their own position"
        projector.known.close()
    finally:
        connection.close()


def _check_published(path: Path) -> None:
    with duckdb.connect(path, read_only=True) as copy:
        assert copy.execute("select (select seq from snapshot) = coalesce(max(seq), 0) from events").fetchall() == [
            (True,)
        ]
        assert copy.execute("select count(*) = count(distinct seq) from engagement_score").fetchall() == [(True,)]
