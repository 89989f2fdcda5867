"""Runs `rapport` commands, each in a process of its own, forked from one that has imported everything already.

Importing takes longer than most commands do. A request is a line of JSON on the socket that is standard input, and so
is its answer. `start` (`argv`, `cwd`, `env`; `installed`: whether it is to be the installed command, which imports for
itself; `program`: Python to be run in place of the command, or null) comes with standard input, output and error and
with one more file, which is closed when the process ends; it is answered with the `pid`. `end` of that `pid` then with
the exit code.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from api.cli import main

LATER = (
    *("api.demo", "api.http.app", "api.http.serving", "api.node", "consumers.restoring"),
    *("anyio._backends._asyncio", "pandas", "pyarrow.csv", "pyarrow.pandas_compat", "pyarrow.parquet"),
    *("uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto"),
)
"""What commands import when they come to it."""

RAPPORT = Path(sys.executable).parent / "rapport"
FILES = 4


def run(command: dict[str, Any], files: list[int]) -> None:
    """Becomes `rapport`, in a child process."""
    os.setsid()
    os.environ.clear()
    os.environ.update(command["env"])
    os.chdir(command["cwd"])
    *standard, ends = files
    for number, file in enumerate(standard):
        os.dup2(file, number)
        os.close(file)
    if command["installed"]:
        os.set_inheritable(ends, True)
        os.execv(RAPPORT, [RAPPORT, *command["argv"]])  # noqa: S606 - that is what it is for
    if command["program"] is not None:
        sys.argv = ["-c", *command["argv"]]
        exec(command["program"], {"__name__": "__main__"})  # noqa: S102 - as `python -c` does
        return
    sys.argv = ["rapport", *command["argv"]]
    main()


def start(command: dict[str, Any], files: list[int], requests: socket.socket) -> int:
    """The process of a command that has begun."""
    child = os.fork()
    if child:
        for file in files:
            os.close(file)
        return child
    requests.close()
    code = 0
    try:
        run(command, files)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:  # noqa: BLE001 - as the interpreter does it
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve(requests: socket.socket) -> None:
    """Until nobody asks any more; what still runs then is killed."""
    running = set[int]()
    while True:
        asked, files, *_ = socket.recv_fds(requests, 1 << 16, FILES)
        while asked and not asked.endswith(b"\n"):
            asked += requests.recv(1 << 16)
        if not asked:
            for child in running:
                os.kill(child, signal.SIGKILL)
            return
        request = json.loads(asked)
        if "start" in request:
            answer = start(request["start"], files, requests)
            running.add(answer)
        else:
            child, status = os.waitpid(request["end"], 0)
            running.remove(child)
            answer = os.waitstatus_to_exitcode(status)
        requests.sendall(b"%d\n" % answer)


if __name__ == "__main__":
    for name in LATER:
        import_module(name)
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as asking:
        serve(asking)
