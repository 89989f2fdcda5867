"""A node killed in the middle of a batch goes on where the last whole batch ended."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.duckdb import DatabaseLocked, open_database
from projections import Projector, rebuild
from tests.benchmarks.views import history
from tests.unit.histories import contents

EVENTS, BATCH = 3_000, 300
ROUNDS = 20 if os.environ.get("RAPPORT_SOAK") else 3


def feed(path: Path) -> subprocess.Popen[str]:
    """A process that applies the ledger from the file's checkpoint on, and says so when it begins."""
    program = (
        "import sys; from pathlib import Path\n"
        "from infra.duckdb import open_database\n"
        "from projections import Projector\n"
        "from tests.benchmarks.views import history\n"
        "projector = Projector(open_database(Path(sys.argv[1])))\n"
        "print('open', flush=True)\n"
        f"for batch in history({EVENTS}, {BATCH}): projector.apply(batch)\n"
    )
    return subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)


def test_sigkill_at_any_moment_leaves_neither_gap_nor_double(tmp_path: Path) -> None:
    path = tmp_path / "rapport.duckdb"
    for _ in range(ROUNDS):
        process = feed(path)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(DatabaseLocked):
            open_database(path)
        time.sleep(random.uniform(0.05, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    connection = open_database(path)
    projector = Projector(connection)
    assert projector.checkpoint % BATCH == 0
    seqs = "select count(*), count(distinct seq), coalesce(max(seq), 0) from events"
    assert connection.execute(seqs).fetchall() == [(projector.checkpoint,) * 3]
    for batch in history(EVENTS, BATCH * 3):
        projector.apply(batch)
    assert connection.execute(seqs).fetchall() == [(EVENTS, EVENTS, EVENTS)]
    incremental = contents(connection)
    rebuild(projector)
    assert contents(connection) == incremental
    connection.close()
