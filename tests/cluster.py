"""A real cluster: nats-servers with JetStream on loopback, each of which can be killed and started again.

Every server acknowledges after the fsync, as in production (`sync_interval: always`), unless it is told otherwise.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.nats_server import LAUNCH, _dismiss_watcher, find_binary, server_info

USER, PASSWORD = "app", "app-secret"
SYSTEM_USER, SYSTEM_PASSWORD = "sys", "sys-secret"
START_TIMEOUT_S = 60.0

CONFIG = """\
listen: "127.0.0.1:{client}"
http: "127.0.0.1:{monitor}"
server_name: {name}
max_payload: 8MB
authorization {{ users: [ {{ user: {user}, password: {password} }} ] }}
accounts {{ $SYS {{ users: [ {{ user: {system_user}, password: {system_password} }} ] }} }}
jetstream {{ store_dir: {store_dir}, sync_interval: {sync_interval}, max_memory_store: 64MB }}
cluster {{ name: test, listen: "127.0.0.1:{route}", routes: [ {routes} ] }}
"""


class Process:
    """A nats-server with a configuration file of the test's own; gone when the test process is gone."""

    def __init__(self, config: Path, port: int) -> None:
        self.config = config
        self.port = port
        self.log_path = config.with_suffix(".log")
        self.running = False
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(signal.SIGTERM)

    def start(self) -> None:
        """Returns when it accepts connections."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", LAUNCH, str(find_binary()), str(self.config)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running = True
        await_until(self._answers, f"nats-server of {self.config}; see {self.log_path}")

    def end(self, how: signal.Signals) -> None:
        """Sends the signal, and returns when the process is gone. Safe to call twice."""
        process, self._process, self.running = self._process, None, False
        if process is not None:
            process.send_signal(how)
            process.wait()
            _dismiss_watcher(process.stdin)

    def pause(self) -> None:
        """Stops it in its tracks: its connections stay, and nothing comes from it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self.running = False

    def resume(self) -> None:
        """It goes on, and believes what it believed when it was paused."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self.running = True

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_path.read_text()[-2_000:]
        return server_info("127.0.0.1", self.port) is not None


class Cluster:
    """`size` servers, numbered from 0, of which any may be killed and started again on its own folder and ports."""

    def __init__(self, folder: Path, size: int = 3, *, sync_intervals: dict[int, str] | None = None) -> None:
        """`sync_intervals` has the servers that are not to sync always."""
        ports = free_ports(3 * size)
        clients, self._monitors, routes = ports[:size], ports[size : 2 * size], ports[2 * size :]
        self.urls = [f"nats://{USER}:{PASSWORD}@127.0.0.1:{port}" for port in clients]
        """Where and as whom the application connects, one for each server."""
        self.system_urls = [f"nats://{SYSTEM_USER}:{SYSTEM_PASSWORD}@127.0.0.1:{port}" for port in clients]
        """The same servers with the login of the system account."""
        self.names = [f"n{index}" for index in range(size)]
        self._processes: list[Process] = []
        for index, name in enumerate(self.names):
            config = folder / f"{name}.conf"
            config.write_text(
                CONFIG.format(
                    client=clients[index],
                    monitor=self._monitors[index],
                    route=routes[index],
                    routes=", ".join(f'"nats-route://127.0.0.1:{port}"' for port in routes),
                    name=name,
                    user=USER,
                    password=PASSWORD,
                    system_user=SYSTEM_USER,
                    system_password=SYSTEM_PASSWORD,
                    store_dir=json.dumps(str(folder / name)),
                    sync_interval=(sync_intervals or {}).get(index, "always"),
                )
            )
            self._processes.append(Process(config, clients[index]))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for process in self._processes:
                stack.enter_context(process)
            self.wait_healthy()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def kill(self, index: int) -> None:
        """Ends a server with signal 9."""
        self._processes[index].end(signal.SIGKILL)

    def pause(self, index: int) -> None:
        """Stops a server with SIGSTOP: its clients keep their connections, and hear nothing."""
        self._processes[index].pause()

    def resume(self, index: int) -> None:
        """Lets a paused server go on, which may still take itself for a leader."""
        self._processes[index].resume()

    def reconfigure(self, index: int, setting: str, value: str) -> None:
        """Changes a setting in a server's configuration file, for its next start."""
        config = self._processes[index].config
        changed, count = re.subn(rf"(\b{setting}: )[^,}}\s]+", rf"\g<1>{value}", config.read_text())
        assert count == 1, setting
        config.write_text(changed)

    def start(self, index: int) -> None:
        """Starts a server that was killed; returns when it accepts connections (it may have to catch up still)."""
        if not self._processes[index].running:
            self._processes[index].start()

    def leader(self, stream: str) -> int:
        """The server that leads the stream, once there is one."""
        found: list[int] = []

        def one_leads() -> bool:
            found[:] = [index for index in self._running() if stream in self._led_by(index)]
            return len(found) == 1

        await_until(one_leads, f"a leader of {stream}")
        return found[0]

    def holds(self, index: int, stream: str) -> tuple[int, int]:
        """How many messages of the stream a server has on its own disk, and the last one's seq; (0, 0) if none."""
        found = self._streams(index, "/jsz?streams=true").get(stream)
        return (found["state"]["messages"], found["state"]["last_seq"]) if found else (0, 0)

    def wait_healthy(self) -> None:
        """Returns when all servers run, follow one meta leader that sees all of them, and have caught up."""
        await_until(self._is_healthy, "a healthy cluster")

    def _is_healthy(self) -> bool:
        running = self._running()
        if len(running) < len(self.names) or not all(self._get(index, "/healthz") for index in running):
            return False
        metas = [(self._get(index, "/jsz") or {}).get("meta_cluster") or {} for index in running]
        leader = metas[0].get("leader")
        if leader is None or any(meta.get("leader") != leader for meta in metas):
            return False
        peers = metas[self.names.index(leader)].get("replicas") or []
        return len(peers) == len(running) - 1 and all(p["current"] and not p.get("offline") for p in peers)

    def _running(self) -> list[int]:
        return [index for index, process in enumerate(self._processes) if process.running]

    def _led_by(self, index: int) -> set[str]:
        found = self._streams(index, "/jsz?streams=true&stream-leader-only=true")
        return {name for name, stream in found.items() if stream["cluster"].get("leader") == self.names[index]}

    def _streams(self, index: int, path: str) -> dict[str, dict[str, Any]]:
        accounts = (self._get(index, path) or {}).get("account_details") or []
        return {stream["name"]: stream for account in accounts for stream in account.get("stream_detail") or []}

    def _get(self, index: int, path: str) -> dict[str, Any] | None:
        """What the server's monitoring answers; None when it answers an error or not at all."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitors[index]}{path}", timeout=5.0) as answer:
                document: dict[str, Any] = json.load(answer)
        except (OSError, urllib.error.URLError):
            return None
        return document


@cache
def shared_cluster() -> Cluster:
    """Three servers for this test process, started on first use, gone at its end. Who kills one starts it again."""
    folder = tempfile.TemporaryDirectory(prefix="rapport-cluster-")
    cluster = Cluster(Path(folder.name))
    cluster.__enter__()
    atexit.register(folder.cleanup)
    atexit.register(cluster.__exit__, None, None, None)
    return cluster


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, outside the range the system gives to others, so that a server can come back to its.

    Of every worker that runs tests they are others: nobody listens on one before its server has started.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = range(12_000 + worker % 8 * 2_500, 12_000 + (worker % 8 + 1) * 2_500)
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", random.SystemRandom().choice(own)))
            except OSError:
                candidate.close()
            else:
                sockets.append(candidate)
        return [taken.getsockname()[1] for taken in sockets]
    finally:
        for taken in sockets:
            taken.close()


def await_until(condition: Any, what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Returns when the condition holds. Raises TimeoutError naming what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.05)
