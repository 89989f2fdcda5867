"""What stands between an append and the ledger when the connection has broken: somebody looks before going on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from infra.jetstream.connection import Connection


class Gate:
    """Open while the connection holds. After each break it stays shut until `look` has returned once.

    A server that comes back may have lost the end of the ledger, or hold another: an append to it would be a second
    history. Without `look` the gate is always open.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._looked = connection.breaks
        self._turn: asyncio.Lock | None = None
        self.look: Callable[[], None] | None = None
        """Raises OperationalError when appends must not go on. Called on a thread that may block."""

    @property
    def is_open(self) -> bool:
        """Whether an append may be sent right now."""
        return self.look is None or self._looked == self._connection.breaks

    async def passed(self) -> None:
        """Returns when the gate is open; raises what `look` raises. Runs on the connection's loop."""
        if self.is_open:
            return
        self._turn = self._turn or asyncio.Lock()
        async with self._turn:
            while not self.is_open and self.look is not None:
                breaks = self._connection.breaks
                await self._connection.loop.run_in_executor(None, self.look)
                self._looked = breaks
