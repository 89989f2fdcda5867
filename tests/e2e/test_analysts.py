"""docs/analysts.md tells the truth: its examples run against a real node, and all give the same number."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import stock
from tests.e2e.harness import ROOT, environment, ok, rapport, up

DOCUMENT = ROOT / "docs" / "analysts.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ADDRESS = "http://127.0.0.1:8642"


def test_every_example_for_analysts_runs_and_gives_the_right_number(tmp_path: Path) -> None:
    """Whatever asks for replies prints how many there are."""
    blocks = BLOCK.findall(DOCUMENT.read_text("utf-8"))
    assert len(blocks) >= 10
    assert {language for language, _ in blocks} == {"sh", "python"}
    history, data = tmp_path / "history.ndjson", tmp_path / "data"
    ok(data, "generate", "--candidates", "60", "--seed", "4", "-o", history)
    replies = history.read_text().count('"type":"replied"')
    assert replies > 10
    with up(data) as (_, client):
        ok(data, "import", history)
        for language, code in blocks:
            printed = run(language, code.replace(ADDRESS, str(client.base_url).rstrip("/")), tmp_path, data)
            if "'replied'" in code or "'replied'" in code.replace("'\"'", "'"):
                assert re.search(rf"\b{replies}\b", printed), (code, printed)


def run(language: str, code: str, folder: Path, data: Path) -> str:
    """What an example prints; it must succeed."""
    command = ["bash", "-eu", "-o", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = environment(RAPPORT_DATA=str(data), PATH=path)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, (code, done.stdout, done.stderr)
    return done.stdout


def test_a_snapshot_from_the_command_line_opens_in_duckdb_1_5(tmp_path: Path) -> None:
    """Every table and view of the project, read to its last row."""
    data, history = tmp_path / "data", tmp_path / "history.ndjson"
    ok(data, "generate", "--candidates", "60", "--seed", "4", "-o", history)
    ok(data, "import", history)
    said = ok(data, "snapshot", "-o", tmp_path / "out").decode()
    path = tmp_path / "out" / "rapport.duckdb"
    assert said.startswith(f"{path}: up to event ")
    names = [name for (name,) in stock.answers(path, "select table_name from information_schema.tables")[0]]
    assert {"events", "gdpr_audit", "engagement_score", "pool_membership", "snapshot"} <= set(names)
    stock.answers(path, *(f'from "{name}"' for name in names))


def test_query_says_what_it_needs_and_what_it_refuses(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for arguments, told in (
        (["query", "select first_name from pii.events"], b"compliance"),
        (["query", "select * from evnts"], b"did you mean events"),
        (["query", "drop table events"], b"only a single SELECT"),
        (["query", "--describe", "nothing"], b"no table or view"),
        (["export-parquet", "-o", tmp_path / "out", "--shards", "3"], b"divides 256"),
    ):
        done = rapport(data, *arguments)
        assert (done.returncode, told in done.stderr) == (1, True), (arguments, done.stderr)
    assert rapport(data, "query").returncode == 2
    assert rapport(data, "query", "select 1", "--role", "king").returncode == 2
    assert ok(data, "query", "select count(*) as n from pii.events", "--role", "compliance", "-f", "csv") == b'"n"\n0\n'
