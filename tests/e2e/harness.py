"""The `rapport` command as a person runs it: in a process of its own, on a data folder of its own."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
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
def _commands() -> socket.socket:
    """Where the process listens that runs the commands of this test process; see `tests.e2e.commands`."""
    ours, theirs = socket.socketpair()
    with theirs:
        serving = subprocess.Popen([sys.executable, "-m", "tests.e2e.commands"], cwd=ROOT, stdin=theirs)

    def end() -> None:
        ours.close()
        serving.wait()

    atexit.register(end)
    return ours


_asking = threading.Lock()


def _asked(request: dict[str, Any], *files: int) -> int:
    commands = _commands()
    with _asking:
        whole = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(commands, [whole], files)
        commands.sendall(whole[sent:])
        return int(commands.makefile().readline())


class Running:
    """A command in a process of its own; what it says goes to files. Used as a `subprocess.Popen` is."""

    def __init__(
        self,
        argv: list[str],
        stdin: bytes,
        cwd: Path,
        env: dict[str, str],
        *,
        installed: bool = False,
        program: str | None = None,
    ) -> None:
        self.args = argv
        self.returncode: int | None = None
        self._files = ExitStack()
        self._said = [self._files.enter_context(tempfile.TemporaryFile()) for _ in range(2)]  # noqa: SIM115 - it is
        self._ends, ends = os.pipe()
        with tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            command = {"argv": argv, "cwd": str(cwd), "env": env, "installed": installed, "program": program}
            self.pid = _asked({"start": command}, given.fileno(), *(file.fileno() for file in self._said), ends)
        os.close(ends)

    def poll(self) -> int | None:
        """The exit code, once it has ended."""
        return self._after(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when it has ended. Raises TimeoutExpired."""
        code = self._after(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def _after(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._ends], [], [], timeout)[0]:
            self.returncode = _asked({"end": self.pid})
            os.close(self._ends)
        return self.returncode

    def said(self) -> tuple[bytes, bytes]:
        """What it has written so far, to standard output and standard error."""
        out, err = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0) for file in self._said)
        return out, err

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """All that it wrote, when it has ended. Raises TimeoutExpired."""
        self.wait(timeout)
        return self.said()

    def send_signal(self, number: int) -> None:
        """Nothing, when it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """With signal 9."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Killed, if it still runs; what it said is forgotten."""
        self.kill()
        self.wait()
        self._files.close()


def rapport(
    data: Path, *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Runs one command to its end, in a process of its own. A traceback, whatever the exit code, is a fault."""
    with process(data, *arguments, stdin=stdin, cwd=cwd, **env) as running:
        out, err = running.communicate()
        done = subprocess.CompletedProcess(running.args, running.wait(), out, err)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def ended(program: str, *arguments: str | Path | int, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs Python in a process of its own, as `python -c` does, in one that has imported already what nodes need."""
    argv = list(map(str, arguments))
    with closing(Running(argv, b"", cwd, environment(), program=program)) as running:
        out, err = running.communicate(TIMEOUT_S)
        return subprocess.CompletedProcess(argv, running.wait(), out.decode(), err.decode())


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
def process(
    data: Path,
    *arguments: str | Path,
    stdin: bytes = b"",
    cwd: Path | None = None,
    installed: bool = False,
    **env: str,
) -> Iterator[Running]:
    """A command in the background; killed when the block is left and it still runs. With `installed` it is the command
    as it was installed, and not a copy of a process that has imported all that it needs.
    """
    argv = ["--data", str(data), *map(str, arguments)]
    with closing(Running(argv, stdin, cwd or data.parent, environment(**env), installed=installed)) as running:
        yield running


@contextmanager
def up(data: Path, *arguments: str, installed: bool = False, **env: str) -> Iterator[tuple[Running, httpx.Client]]:
    """A node that serves, and a client of it. Not before the node says that it serves, and not a moment later."""
    with process(data, "up", "--port", "0", *arguments, installed=installed, **env) as node:
        until(lambda: b"\n" in node.said()[0] or node.poll() is not None)
        said, complained = (text.decode() for text in node.said())
        assert " at http://" in said, (said, complained)
        url = said.split(" at ")[1].split()[0]
        with client_of(url, Settings(data=data)) as client:
            yield node, client


def stop(running: Running, by: signal.Signals) -> tuple[str, str]:
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
