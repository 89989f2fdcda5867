"""Computations over everybody's history: one at a time, few wait for theirs, and all end when they are told to."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore, Lock
from time import sleep

import duckdb

MOST_WAITING = 2
"""Who waits holds a thread, and what is waited for may take as long as a rebuild."""
AGAIN_S = 0.02


class ComputingBusy(Exception):
    """Something is being computed over everybody's history, and what was asked for has to come again."""


class OneAtATime:
    """Whose turn it is. For any number of threads."""

    def __init__(self) -> None:
        self._turn = Lock()
        self._places = BoundedSemaphore(1 + MOST_WAITING)
        self._lock = Lock()
        self._at_work: tuple[Turn, duckdb.DuckDBPyConnection] | None = None
        self._ended = 0

    @contextmanager
    def turn(self, wait_s: float | None = None) -> Iterator["Turn"]:
        """In the block it is the caller's turn.

        Raises ComputingBusy when it has not come within `wait_s`, or as many wait as may; without a time the caller
        waits for as long as it takes. Raises ConnectionException when everybody was told to end meanwhile.
        """
        turn = Turn(self)
        if wait_s is None:
            with self._turn:
                turn.go_on()
                yield turn
            return
        if not self._places.acquire(blocking=False):
            raise ComputingBusy("other histories are being computed, and enough questions wait for that; try again")
        try:
            if not self._turn.acquire(timeout=wait_s):
                raise ComputingBusy("another history is being computed; try again when that is done")
            try:
                turn.go_on()
                yield turn
            finally:
                self._turn.release()
        finally:
            self._places.release()

    def end(self) -> None:
        """Whoever computes or waits gives up. Returns when what is being computed has ended."""
        with self._lock:
            self._ended += 1
            told = self._at_work
        while told is not None:
            with self._lock:
                if self._at_work is not told:
                    return
                with suppress(duckdb.Error):
                    told[1].interrupt()
            sleep(AGAIN_S)  # one that came between two statements was lost


class Turn:
    """One caller's turn, from when it was asked for."""

    def __init__(self, of: OneAtATime) -> None:
        self._of = of
        self._begun = of._ended

    @property
    def is_ended(self) -> bool:
        """Whether everybody was told to end since."""
        return self._of._ended != self._begun

    def go_on(self) -> None:
        """Raises ConnectionException when everybody was told to end."""
        if self.is_ended:
            raise duckdb.ConnectionException("what was to be computed is out of date, or its file is being closed")

    @contextmanager
    def on(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """What the block computes on `connection` ends when everybody is told to, with ConnectionException."""
        at_work = self, connection
        with self._of._lock:
            self.go_on()
            self._of._at_work = at_work
        try:
            yield
        except Exception:
            self.go_on()
            raise
        finally:
            with self._of._lock:
                self._of._at_work = None
