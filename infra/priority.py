"""Which work goes first where there is more of it than cores: recording, answering and telling before the views."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

GIVES_WAY = 10
"""The niceness of what has time: a tenth of a core while others want it, all of it when nobody does (sched(7))."""

T = TypeVar("T")


def give_way() -> None:
    """From now on this thread, and those that it starts, go behind the others of the machine. Where threads have no
    priority of their own, nothing changes."""
    if sys.platform == "linux":  # elsewhere it would be the whole process's
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), GIVES_WAY)


def giving_way(work: Callable[[], T]) -> T:
    """What `work` returns or raises, in a thread that gives way: threads that it starts, and leaves behind, do too."""
    with ThreadPoolExecutor(1, "rapport-giving-way", initializer=give_way) as pool:
        return pool.submit(work).result()
