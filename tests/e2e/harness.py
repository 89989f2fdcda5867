"""The `rapport` command as a person runs it: in a process of its own, on a data folder of its own."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from api.cli.client import client_of
from infra import nats_server
from infra.settings import Settings

ROOT = Path(nats_server.__file__).parents[1]
RAPPORT = Path(sys.executable).parent / "rapport"
TIMEOUT_S = 120.0


def environment(**more: str) -> dict[str, str]:
    """This process's, without any setting of Rapport but those given."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAPPORT_")}
    return kept | {"NO_COLOR": "1", "COLUMNS": "200"} | more


@cache
def _commands() -> subprocess.Popen[str]:
    """The process that runs the commands of this test process; see `tests.e2e.commands`."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    serving = subprocess.Popen([sys.executable, "-m", "tests.e2e.commands"], text=True, cwd=ROOT, **pipes)

    def end() -> None:
        serving.communicate()  # its standard input ends, and so does it

    atexit.register(end)
    return serving


def rapport(
    data: Path, *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Runs one command to its end, in a process of its own. A traceback, whatever the exit code, is a fault."""
    argv = ["--data", str(data), *map(str, arguments)]
    with tempfile.TemporaryDirectory(prefix="rapport-command-") as folder:
        files = {name: Path(folder) / name for name in ("stdin", "stdout", "stderr")}
        files["stdin"].write_bytes(stdin)
        command = {name: str(path) for name, path in files.items()}
        where = {"cwd": str(cwd or data.parent), "env": environment(**env)}
        serving = _commands()
        assert serving.stdin is not None
        assert serving.stdout is not None
        serving.stdin.write(json.dumps({"argv": argv} | command | where) + "\n")
        serving.stdin.flush()
        code = int(serving.stdout.readline())
        done = subprocess.CompletedProcess(argv, code, files["stdout"].read_bytes(), files["stderr"].read_bytes())
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def ok(data: Path, *arguments: str | Path, **options: Any) -> bytes:
    """The standard output of a command that must succeed."""
    done = rapport(data, *arguments, **options)
    assert done.returncode == 0, (done.returncode, done.stderr.decode(), done.stdout.decode())
    return done.stdout


def complaint(data: Path, *arguments: str | Path, code: int = 1, **options: Any) -> str:
    """The one sentence of a command that must fail."""
    done = rapport(data, *arguments, **options)
    text = done.stderr.decode()
    assert done.returncode == code, (done.returncode, text, done.stdout.decode())
    sentences = [line for line in text.splitlines() if line.strip()]
    assert len(sentences) == 1, text
    assert sentences[0].startswith("rapport: ")
    return sentences[0]


@contextmanager
def process(data: Path, *arguments: str | Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the background; killed when the block is left and it still runs."""
    running = subprocess.Popen(
        [RAPPORT, "--data", data, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**env),
        cwd=data.parent,
        start_new_session=True,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


@contextmanager
def up(data: Path, *arguments: str, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A node that serves, and a client of it. Not before the node says that it serves, and not a moment later."""
    with process(data, "up", "--port", "0", *arguments, **env) as node:
        assert node.stdout is not None
        said = node.stdout.readline().decode()
        assert " at http://" in said, (said, node.stderr.read().decode() if node.stderr else "")
        url = said.split(" at ")[1].split()[0]
        with client_of(url, Settings(data=data)) as client:
            yield node, client


def stop(running: subprocess.Popen[bytes], by: signal.Signals) -> tuple[str, str]:
    """What a process still said after a signal that ends it cleanly."""
    running.send_signal(by)
    out, err = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0, (running.returncode, err.decode())
    assert b"Traceback" not in err, err.decode()
    return out.decode(), err.decode()


def until(holds: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Returns when `holds()` is true."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether there is such a process, and not merely its remains."""
    listed = subprocess.run(["ps", "-p", str(pid), "-o", "state="], capture_output=True, check=False)
    return listed.returncode == 0 and not listed.stdout.strip().startswith(b"Z")


def server_pid(data: Path) -> int:
    """The process of the folder's nats-server, as its pid file has it; 0 when there is none."""
    try:
        return int((data / "nats" / "nats-server.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def lines(path: Path, documents: list[dict[str, Any]]) -> Path:
    """The documents as NDJSON."""
    path.write_text("".join(json.dumps(d) + "\n" for d in documents))
    return path


def did(type_: str, who: str, at: str = "2026-03-01T09:30:00Z", **fields: Any) -> dict[str, Any]:
    """An interaction; fields of the envelope by name, all others as `data`."""
    envelope = {k: fields.pop(k) for k in ("id", "actor", "source", "channel") if k in fields}
    return {"type": type_, "candidate": {"email": who}, "occurred_at": at, "data": fields} | envelope
