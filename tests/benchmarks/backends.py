"""The event stores that stand side by side: each a durable server or file of its own, in a temporary folder.

All of them acknowledge after fsync: nats-server with `sync_interval: always`, PostgreSQL with fsync and
synchronous_commit on, UmaDB as it is, SQLite with synchronous=FULL. None has a cache switched on that the others lack.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path

from infra.nats_server import EmbeddedServer

READY_S = 30.0


class Unavailable(Exception):
    """This store cannot run here; the message says what is missing."""


@contextmanager
def jetstream(folder: Path) -> Iterator[dict[str, str]]:
    """Ours."""
    with EmbeddedServer(folder) as server:
        yield {"PERSISTENCE_MODULE": "infra.jetstream", "NATS_URL": server.url}


@contextmanager
def sqlite(folder: Path) -> Iterator[dict[str, str]]:
    """A file, in the process of whoever uses it."""
    yield {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "events.db")}


@contextmanager
def postgres(folder: Path) -> Iterator[dict[str, str]]:
    """Debian's PostgreSQL, as it comes."""
    if find_spec("psycopg") is None:
        raise Unavailable("psycopg is not installed")
    initdb, server = _postgres_binary("initdb"), _postgres_binary("postgres")
    # PostgreSQL does not run as root, so root lends it a folder.
    user = "postgres" if os.geteuid() == 0 else None
    data = folder / "data"
    if user is not None:
        folder.chmod(0o755)
        data.mkdir()
        shutil.chown(data, user)
    subprocess.run([initdb, "-D", data, "-U", "bench", "-A", "trust"], check=True, user=user, stdout=subprocess.DEVNULL)
    port = _free_port()
    command = [server, "-D", str(data), "-p", str(port), "-k", str(data), "-h", "127.0.0.1"]
    with _running(command, port, user=user):
        yield {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": "postgres",
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(port),
            "POSTGRES_USER": "bench",
            "POSTGRES_PASSWORD": "",
            "POSTGRES_POOL_SIZE": "16",
        }


@contextmanager
def umadb(folder: Path) -> Iterator[dict[str, str]]:
    """The server that the `umadb` package brings."""
    program = Path(sys.executable).with_name("umadb")
    if find_spec("eventsourcing_umadb") is None or not program.exists():
        raise Unavailable("eventsourcing-umadb is not installed")
    port = _free_port()
    command = [str(program), "--listen", f"127.0.0.1:{port}", "--db-path", str(folder / "uma.db")]
    with _running(command, port):
        yield {"PERSISTENCE_MODULE": "eventsourcing_umadb", "UMADB_URI": f"http://127.0.0.1:{port}"}


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[dict[str, str]]]] = {
    "jetstream": jetstream,
    "umadb": umadb,
    "postgres": postgres,
    "sqlite": sqlite,
}


@contextmanager
def _running(command: list[str], port: int, *, user: str | None = None) -> Iterator[None]:
    process = subprocess.Popen(
        command, user=user, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + READY_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"{Path(command[0]).name} does not start")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def _postgres_binary(name: str) -> str:
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(debian[-1]) if debian else None)
    if found is None:
        raise Unavailable(f"there is no {name}; install Debian's postgresql")
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
