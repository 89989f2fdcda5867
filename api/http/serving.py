"""The HTTP server of a node: tells its application of its connections, and ends streams that would go on for ever."""

import asyncio
import socket
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from api.door import Door
from api.http.streams import Streams


class Server(uvicorn.Server):
    """A uvicorn server over an application whose `state.streams` are ended before it waits for its connections.

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
            run = partial(asyncio.run_coroutine_threadsafe, loop=asyncio.get_running_loop())
            self._door.serve(
                lambda connection, begun: run(self._adopt(connection, begun)), lambda: run(self._listen(sockets or []))
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no more requests, and lets those under way end."""
        if self._door is not None:
            for listener in [] if self.servers else sockets or []:
                listener.close()  # or who comes while the door ends would wait for nobody
            await asyncio.to_thread(self._door.stop)
        application = self.config.app
        if isinstance(application, FastAPI):
            streams: Streams = application.state.streams
            streams.end()
        await super().shutdown(sockets)

    async def _adopt(self, connection: socket.socket, begun: bytes) -> None:
        """Serves a connection of which `begun` was read already."""
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
            connected = protocol.connection_made

            def connection_made(transport: asyncio.BaseTransport) -> None:
                connected(transport)
                protocol.data_received(begun)  # before anything else is read

            protocol.connection_made = connection_made  # type: ignore[method-assign]
        return protocol
