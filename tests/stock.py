"""DuckDB as others have it: the version that snapshots are written for, beside the one the project uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(sys.prefix) / "stock-duckdb"
"""Where `make setup` installs what tests/stock-duckdb.lock pins."""

SCRIPT = """
import json, sys
import duckdb
assert duckdb.__version__.startswith("1.5."), duckdb.__version__
with duckdb.connect(sys.argv[1], read_only=True) as file:
    print(json.dumps([file.execute(q).fetchall() for q in json.loads(sys.argv[2])], default=str))
"""


def needed() -> None:
    """Skips where stock DuckDB is not installed; under CI that is a failure."""
    if not FOLDER.is_dir():
        assert "CI" not in os.environ, f"{FOLDER} is not there: run `make setup`"
        pytest.skip("stock DuckDB is not installed; `make setup` does it")


def answers(file: Path, *queries: str) -> list[list[list[Any]]]:
    """What DuckDB 1.5, in a process of its own, answers to each query on a file it opens read-only."""
    needed()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file), json.dumps(queries)],
        env={**os.environ, "PYTHONPATH": str(FOLDER), "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[list[Any]]] = json.loads(done.stdout)
    return found
