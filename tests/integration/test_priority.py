"""Where there is more work than cores, recording and answering go before the views."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from infra.duckdb import open_database
from infra.priority import GIVES_WAY, give_way

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux only"),
    pytest.mark.skipif(os.nice(0) != 0, reason="the tests themselves do not run at the usual priority"),
]


def niceness() -> dict[int, int]:
    """Of each thread of this process."""
    return {
        int(tid): os.getpriority(os.PRIO_PROCESS, int(tid))
        for tid in (path.name for path in Path("/proc/self/task").iterdir())
    }


def test_the_threads_of_the_database_give_way_and_whoever_opens_it_does_not(tmp_path: Path) -> None:
    before = niceness()
    with closing(open_database(tmp_path / "views.duckdb")) as connection:
        connection.execute("set threads = 2")
        connection.execute("select count(*) from range(1_000_000) t(n) where hash(n) % 3 = 0").fetchall()
        made = {tid: nice for tid, nice in niceness().items() if tid not in before}
    assert GIVES_WAY in made.values()
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == 0


def test_a_thread_that_gives_way_is_alone_with_that() -> None:
    found: list[int] = []

    def run() -> None:
        give_way()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [GIVES_WAY]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == 0
