"""Runs `rapport` commands, each in a process of its own, forked from one that has imported everything already.

Importing takes longer than most commands do. Read: one JSON object a line on standard input (`argv`, `cwd`, `env`,
`stdin`, `stdout`, `stderr` as paths). Written: the exit code of each, a line each.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import pyarrow.csv
import pyarrow.parquet  # noqa: F401 - imported here so that no command has to

from api.cli import main


def run(command: dict[str, Any]) -> None:
    """Becomes `rapport`, in a child process."""
    os.environ.clear()
    os.environ.update(command["env"])
    os.chdir(command["cwd"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        file = os.open(command[name], flags)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["rapport", *command["argv"]]
    main()


def serve() -> None:
    """Until standard input ends."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 0
            try:
                run(json.loads(line))
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1 if end.code else 0
            except BaseException:  # noqa: BLE001 - as the interpreter does it
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
