"""The HTTP server of a node: tells its application of its connections, and ends what would go on for ever."""

import asyncio
import socket
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from api.door import Door
from api.http.body import Coming
from api.http.connections import MOST
from api.http.streams import Streams
from infra.logging import fault_of

MOST_ADOPTED = MOST + 64
"""Connections that come from the door; those above `MOST` are answered 503, where there is a request yet."""

log = structlog.get_logger()


class Server(uvicorn.Server):
    """A uvicorn server over an application whose `state.streams` and what is `state.coming` end before it waits for its
    connections.

    With a `door` it listens only when that has ended, and else serves the connections that come from there.
    """

    def __init__(self, config: uvicorn.Config, door: Door | None = None) -> None:
        super().__init__(config)
        self._door = door
        if isinstance(config.app, FastAPI):
            config.app.state.connections = self.server_state.connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Returns when it serves."""
        await super().startup([] if self._door is not None else sockets)
        if self._door is not None:
            loop = asyncio.get_running_loop()

            def run(coroutine: Coroutine[Any, Any, None]) -> None:
                asyncio.run_coroutine_threadsafe(coroutine, loop).add_done_callback(_told)

            self._door.serve(
                lambda connection, begun: run(self._adopt(connection, begun)), lambda: run(self._listen(sockets or []))
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no more requests, and lets those under way end."""
        application = self.config.app
        if isinstance(application, FastAPI):
            streams: Streams = application.state.streams
            coming: Coming = application.state.coming
            streams.end()
            coming.end()
        if self._door is not None:
            for listener in [] if self.servers else sockets or []:
                listener.close()  # or who comes while the door ends would wait for nobody
            ending = asyncio.create_task(asyncio.to_thread(self._door.stop))
            while not ending.done():
                if self.force_exit:
                    self._door.kill()
                await asyncio.wait([ending], timeout=0.1)
        await super().shutdown(sockets)

    async def _adopt(self, connection: socket.socket, begun: bytes) -> None:
        """Serves a connection of which `begun` was read already."""
        if len(self.server_state.connections) > MOST_ADOPTED:
            connection.close()
            return
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(partial(self._protocol, begun), connection)
        except OSError:  # it is gone
            connection.close()

    async def _listen(self, listeners: list[socket.socket]) -> None:
        if not self.should_exit:
            loop = asyncio.get_running_loop()
            self.servers += [await loop.create_server(self._protocol, sock=listener) for listener in listeners]

    def _protocol(self, begun: bytes = b"") -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        if begun:
            first = [begun]

            def connection_made(transport: asyncio.BaseTransport) -> None:
                del protocol.connection_made  # and with it the cycle
                protocol.connection_made(transport)
                protocol.data_received(first.pop())  # before anything else is read

            protocol.connection_made = connection_made  # type: ignore[method-assign]
        return protocol


def _told(done: Future[None]) -> None:
    """A fault in the log that nobody waits for."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("a connection is lost", **fault_of(error))
