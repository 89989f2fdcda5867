"""The time as a ledger's server has it, so that several nodes agree on it whatever their own clocks say."""

import time
from datetime import datetime, timedelta

from infra.jetstream.connection import Connection
from infra.jetstream.stream import Stream, recorded_at, time_ns_of

JUMP_S = 60.0
"""When the machine's clock has gone so much further than time has passed, it was set, or the machine slept."""


class ServerClock:
    """Asked when it is made, by `look`, and when the machine was asleep; between that it runs on by itself."""

    def __init__(self, connection: Connection, stream: Stream) -> None:
        """Raises OperationalError, as `look` and now and then `now`."""
        self._connection = connection
        self._stream = stream
        self.look()

    def look(self) -> None:
        """Sets it by the server."""
        info = self._connection.call(self._connection.read_api(f"STREAM.INFO.{self._stream.name}"))
        self._set = recorded_at(time_ns_of(info["ts"])), time.monotonic(), time.time()

    def now(self) -> datetime:
        """The time, in UTC. May ask the server, and then waits: not for a thread that runs an event loop."""
        while (at := self.now_if_set()) is None:
            self.look()
        return at

    def now_if_set(self) -> datetime | None:
        """The time, in UTC; None when the server has to be asked first."""
        at, monotonic_s, wall_s = self._set
        passed_s = time.monotonic() - monotonic_s
        return None if abs(time.time() - wall_s - passed_s) > JUMP_S else at + timedelta(seconds=passed_s)
