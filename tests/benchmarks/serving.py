"""A node in a process of its own, asked over HTTP as a compliance officer, and what it takes of memory."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import httpx

from tests.benchmarks.figures import Figure
from tests.benchmarks.views_stages import Wrong
from tests.e2e.harness import server_pid, stop, up

PATIENCE_S = 900.0


@dataclass
class Served:
    """A node that serves: its client, and the most memory that it and its server had, in MiB, once it was stopped."""

    client: httpx.Client
    peaks: tuple[float, float] | None = None

    def get(self, path: str, **params: Any) -> httpx.Response:
        """The answer, whole. Raises Wrong when it is none."""
        answer = self.client.get(path, params=params)
        if answer.status_code != httpx.codes.OK:
            raise Wrong(f"{path.partition('?')[0].rpartition('/')[2]} answered {answer.status_code}: {answer.text}")
        return answer

    def memory(self, name: str) -> Figure:
        """The row that says so."""
        if self.peaks is None:
            return Figure(f"{name}: peak memory of the node", None, note="the system does not say")
        own, server = self.peaks
        return Figure(f"{name}: peak memory of the node", own, "MiB", note=f"(its server {server:,.0f} MiB)")


@contextmanager
def node(data: Path) -> Iterator[Served]:
    """`rapport up` on this folder, ready, asked by a compliance officer; stopped as by its operator. Raises Wrong."""
    try:
        with up(data, installed=True, RAPPORT_LOG_LEVEL="error") as (process, client):
            client.timeout = httpx.Timeout(PATIENCE_S)
            token = json.loads((data / "tokens.json").read_text("utf-8"))["compliance"]
            client.headers["Authorization"] = f"Bearer {token}"
            served = Served(client)
            until(lambda: client.get("/readyz").json()["status"] == "ready", "the node does not become ready")
            yield served
            own, server = peak_of(process.pid), peak_of(server_pid(data))
            if own is not None and server is not None:
                served.peaks = own, server
            stop(process, signal.SIGTERM)
    except (AssertionError, TimeoutExpired) as error:
        raise Wrong(f"the node does not start or stop as it should: {error}") from error


def dropped(folder: Path) -> bool:
    """Whether the system was told to drop what it holds in memory of the folder's files."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # only what is on disk can be dropped
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
    return True


def peak_of(pid: int) -> float | None:
    """The most memory that a running process had resident, in MiB; None where the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def until(holds: Callable[[], object], otherwise: str, timeout_s: float = PATIENCE_S, every_s: float = 0.01) -> None:
    """Returns when `holds()` is true. Raises Wrong with `otherwise`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise Wrong(otherwise)
        time.sleep(every_s)
