"""kill -9 at any moment, then once more: the ledger and the views of an import that nobody disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.contents import Contents
from tests.e2e.harness import alive, ok, process, rapport, server_pid, stop, until, up

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
CANDIDATES = 1_000 if SOAK else 100
ROUNDS = 20 if SOAK else 3


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "history.ndjson"
    ok(path.parent / "data", "generate", "--candidates", str(CANDIDATES), "--seed", "11", "-o", path)
    return path


@pytest.fixture(scope="module")
def undisturbed(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    data = tmp_path_factory.mktemp("undisturbed") / "data"
    summary = json.loads(ok(data, "import", history, "--json"))
    assert (summary["duplicates"], summary["rejected"]) == (0, 0)
    return Contents(data)


def size(data: Path) -> int:
    """Bytes in the ledger's own files: how far an import has come, seen from outside."""
    total = 0
    for folder, _, names in os.walk(data / "nats" / "jetstream" / "RAPPORT" / "streams"):
        for name in (n for n in names if n.endswith(".blk")):
            with contextlib.suppress(FileNotFoundError):
                total += (Path(folder) / name).stat().st_size
    return total


def test_an_import_killed_at_any_moment_and_repeated_ends_like_an_undisturbed_one(
    history: Path, undisturbed: Contents, tmp_path: Path
) -> None:
    """Each round kills the process when the ledger has grown by a random amount: before the first event, in the
    middle, at the end. Its nats-server goes with it, or is taken over."""
    data = tmp_path / "data"
    chance = random.Random(5)
    killed = 0
    whole = history.stat().st_size
    for _ in range(ROUNDS):
        begun = size(data)
        enough = begun + chance.choice([1, 5_000, whole // 8, whole // 3])
        with process(data, "import", history, "--json") as running:
            until(lambda p=running, n=enough: p.poll() is not None or size(data) >= n)
            if running.poll() is None:
                running.kill()
                killed += 1
            running.wait()
        nats = server_pid(data)
        if chance.random() < 0.5:  # otherwise the next command meets it
            until(lambda pid=nats: not alive(pid))
    assert killed >= 1, "every round was over before it was killed"
    done = rapport(data, "import", history, "--json")
    assert done.returncode == 0, done.stderr.decode()
    summary = json.loads(done.stdout)
    assert summary["accepted"] + summary["duplicates"] == history.read_bytes().count(b"\n")
    again = json.loads(ok(data, "import", history, "--json"))
    assert (again["accepted"], again["last_seq"]) == (0, summary["last_seq"])
    Contents(data).same_as(undisturbed)


def test_a_node_killed_while_it_records_and_sent_everything_again_ends_like_an_undisturbed_one(
    history: Path, undisturbed: Contents, tmp_path: Path
) -> None:
    """A client that knows nothing but "send it again" until the node has answered for all of it."""
    data = tmp_path / "data"
    chance = random.Random(7)
    lines = history.read_bytes().splitlines()
    answered = 0
    for round_ in range(2 if not SOAK else ROUNDS):
        with up(data) as (node, http):
            enough = size(data) + chance.choice([20_000, history.stat().st_size // 4])
            kill = [round_ < (1 if not SOAK else ROUNDS - 1)]
            answered = 0
            for start in range(0, len(lines), 100):
                if kill[0] and size(data) >= enough:
                    node.kill()
                    kill[0] = False
                try:
                    answered += _send(http, lines[start : start + 100])
                except httpx.TransportError:
                    break
            if node.poll() is None:
                node.send_signal(signal.SIGTERM)
            node.wait()
    assert answered == len(lines)
    Contents(data).same_as(undisturbed)


def test_ctrl_c_during_an_import_leaves_nothing_running_and_the_import_can_be_repeated(
    history: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with process(data, "import", history, "--json") as running:
        until(lambda: running.poll() is not None or size(data) > 1_000)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
        assert b"Traceback" not in err, err.decode()
        assert running.returncode == 130 or json.loads(out)["rejected"] == 0
    until(lambda: not alive(server_pid(data)))
    assert json.loads(ok(data, "import", history, "--json"))["rejected"] == 0


def test_an_import_whose_node_stops_says_so_and_the_next_one_goes_on(history: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with up(data) as (node, _), process(data, "import", history, "--json") as running:
        until(lambda: running.poll() is not None or size(data) > 1_000)
        stop(node, signal.SIGTERM)
        _, err = running.communicate(timeout=60)
        if running.returncode != 0:
            assert running.returncode == 1
            (sentence,) = err.decode().splitlines()
            assert "run the command again" in sentence
    summary = json.loads(ok(data, "import", history, "--json"))
    assert summary["accepted"] + summary["duplicates"] == history.read_bytes().count(b"\n")


def _send(http: httpx.Client, lines: list[bytes]) -> int:
    answer: dict[str, Any] = (
        http.post(
            "/v1/interactions",
            params={"history": True},
            content=b"\n".join(lines),
            headers={"Content-Type": "application/x-ndjson"},
        )
        .raise_for_status()
        .json()
    )
    assert answer["rejected"] == 0, answer
    done: int = answer["accepted"] + answer["duplicates"]
    return done
