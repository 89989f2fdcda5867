"""The HTTP server of a node: tells its application of its connections, and ends streams that would go on for ever."""

import socket

import uvicorn
from fastapi import FastAPI

from api.http.streams import Streams


class Server(uvicorn.Server):
    """A uvicorn server over an application whose `state.streams` are ended before it waits for its connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        if isinstance(config.app, FastAPI):
            config.app.state.connections = self.server_state.connections

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no more requests, and lets those under way end."""
        application = self.config.app
        if isinstance(application, FastAPI):
            streams: Streams = application.state.streams
            streams.end()
        await super().shutdown(sockets)
