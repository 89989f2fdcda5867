"""One connection to NATS for the whole process: an asyncio loop on a thread of its own, shared by every caller."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any, Self, TypeVar

import nats.errors
import orjson
from eventsourcing.persistence import DataError, OperationalError

from infra.jetstream.replies import NO_RESPONDERS, ApiError, ConnectionLost, Reply, read_api_reply
from infra.jetstream.wire import WireClient

T = TypeVar("T")

UNAVAILABLE = 10008
READ_TRY_S = 2.0  # a cluster that elects a leader answers nothing, and later answers at once


class Connection:
    """Connects at once, reconnects for as long as it is open.

    `options` go to nats-py (`user`, `password`, `token`, `user_credentials`, `tls`, …). Raises OperationalError within
    `connect_timeout_s` when no server answers, when the login is refused, and when the server has no JetStream.
    """

    def __init__(
        self,
        servers: str | list[str] = "nats://127.0.0.1:4222",
        *,
        connect_timeout_s: float = 5.0,
        request_timeout_s: float = 10.0,
        **options: Any,
    ) -> None:
        self.servers = [servers] if isinstance(servers, str) else list(servers)
        self.request_timeout_s = request_timeout_s
        self.loop = asyncio.new_event_loop()
        self._client = WireClient()
        self._tokens = itertools.count()
        self._sinks: dict[bytes, Callable[[Reply | ConnectionLost], None]] = {}
        self.on_break: set[Callable[[], None]] = set()
        """Called, on the loop, whenever the connection breaks."""
        self._inbox = ""
        self._connected = asyncio.Event()
        self._trouble: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self.loop.run_forever, name="rapport-nats", daemon=True)
        self._thread.start()
        try:
            self.call(self._open(connect_timeout_s, options), connect_timeout_s + 5.0)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def client(self) -> WireClient:
        """The nats-py client, to be used on `loop` only."""
        return self._client

    @property
    def is_connected(self) -> bool:
        """Whether a server is connected right now."""
        return not self._closed and bool(self._client.is_connected)

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T:
        """Runs `coroutine` on the connection's loop and waits for it. Not to be called on that loop.

        Raises OperationalError after close, ConnectionLost after `timeout_s`, and whatever the coroutine raises.
        """
        if self._closed or threading.current_thread() is self._thread:
            coroutine.close()
            raise OperationalError("the NATS connection is closed" if self._closed else "call() on its own loop")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout_s)
        except FutureTimeoutError:
            if future.done():
                raise
            future.cancel()
            raise ConnectionLost(f"no answer from NATS within {timeout_s:g} s") from None
        except CancelledError:
            raise ConnectionLost("the NATS connection was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def post(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs `coroutine` on the loop some time soon without waiting for it; after close, not at all."""
        try:
            asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:  # the loop is closed
            coroutine.close()

    async def ask(self, subject: str, body: bytes = b"", header: bytes = b"") -> asyncio.Future[Reply]:
        """Sends a request; the future has the reply, or ConnectionLost when the connection breaks or nobody listens."""
        answer: asyncio.Future[Reply] = self.loop.create_future()

        def settle(reply: Reply | ConnectionLost) -> None:
            self._sinks.pop(token, None)
            if answer.done():
                return
            if isinstance(reply, Reply) and reply.header is not None and reply.header.startswith(NO_RESPONDERS):
                reply = ConnectionLost(f"nobody answers {subject} at {self._where()}")
            if isinstance(reply, ConnectionLost):
                answer.set_exception(reply)
                answer.exception()  # whoever gave up waiting need not be told that nobody looked
            else:
                answer.set_result(reply)

        token = await self.ask_many(subject, body, settle, header)
        answer.add_done_callback(lambda _: self._sinks.pop(token, None))
        return answer

    async def ask_many(
        self, subject: str, body: bytes, sink: Callable[[Reply | ConnectionLost], None], header: bytes = b""
    ) -> bytes:
        """Sends a request with many replies; each goes to `sink` until `forget` is called with the returned token.

        When the connection breaks, `sink` gets one ConnectionLost and nothing more.
        """
        token = b"%x" % next(self._tokens)
        self._sinks[token] = sink
        try:
            await self.send(subject, body, header, self._inbox + token.decode())
        except BaseException:
            del self._sinks[token]
            raise
        return token

    def forget(self, token: bytes) -> None:
        """Drops what else may come for `token`."""
        self._sinks.pop(token, None)

    async def send(self, subject: str, body: bytes, header: bytes = b"", reply: str = "") -> None:
        """Publishes without waiting. Raises ConnectionLost when there is no connection, DataError when too large."""
        try:
            await self._client.send(subject, reply, header, body)
        except nats.errors.MaxPayloadError:
            size = len(header) + len(body)
            message = f"a message of {size:,} bytes is over the server's limit of {self._client.max_payload:,}"
            raise DataError(message) from None
        except nats.errors.Error as error:
            raise ConnectionLost(f"not connected to NATS at {self._where()}") from error

    async def request(
        self, subject: str, body: bytes = b"", header: bytes = b"", timeout_s: float | None = None
    ) -> Reply:
        """One request, one reply. Raises ConnectionLost when none comes in time or nobody listens."""
        timeout_s = timeout_s or self.request_timeout_s
        answer = await self.ask(subject, body, header)
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            raise ConnectionLost(f"no answer from NATS within {timeout_s:g} s") from None

    async def api(
        self, name: str, request: dict[str, Any] | None = None, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """A call of `$JS.API.<name>`. Raises ApiError when JetStream refuses, ConnectionLost when it is silent."""
        body = orjson.dumps(request) if request else b""
        reply = await self.request(f"$JS.API.{name}", body, timeout_s=timeout_s)
        return read_api_reply(reply.body)

    async def read_api(self, name: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """`api` for what only reads: asks again, over reconnects and elections, for `request_timeout_s`."""
        deadline = self.loop.time() + self.request_timeout_s
        while True:
            try:
                return await self.api(name, request, READ_TRY_S)
            except ConnectionLost:
                if self.loop.time() > deadline:
                    raise
            except ApiError as error:
                if error.code != UNAVAILABLE or self.loop.time() > deadline:
                    raise
            await asyncio.sleep(0.05)
            await self.wait_connected(self.request_timeout_s)

    async def wait_connected(self, timeout_s: float) -> None:
        """Returns when a server is connected. Raises ConnectionLost after `timeout_s`."""
        try:
            await asyncio.wait_for(self._connected.wait(), timeout_s)
        except TimeoutError:
            raise ConnectionLost(f"no connection to NATS at {self._where()} for {timeout_s:g} s") from None

    def close(self) -> None:
        """Closes the connection and ends its thread. Safe to call twice."""
        if self._closed:
            return
        with contextlib.suppress(OperationalError):
            self.call(self._shut(), 5.0)
        self._closed = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self.loop.run_until_complete(self._shut())  # what others posted meanwhile
            self.loop.close()

    async def _open(self, timeout_s: float, options: dict[str, Any]) -> None:
        settings = {"reconnect_time_wait": 0.2, "connect_timeout": 2, "ping_interval": 20, "name": "rapport", **options}
        connecting = self._client.connect(
            self.servers,
            max_reconnect_attempts=-1,
            error_cb=self._note_trouble,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            **settings,
        )
        try:
            await asyncio.wait_for(connecting, timeout_s)
        except (TimeoutError, nats.errors.Error, OSError) as error:
            raise OperationalError(self._why_not(error, timeout_s)) from None
        self._inbox = self._client.new_inbox() + "."
        await self._client.listen(self._inbox + "*", self._dispatch)
        self._connected.set()
        await self._require_jetstream()

    async def _require_jetstream(self) -> None:
        try:
            read_api_reply((await self.request("$JS.API.INFO", timeout_s=5.0)).body)
        except OperationalError as error:
            raise OperationalError(
                f"the server at {self._where()} does not have JetStream enabled; start it with -js"
            ) from error

    async def _shut(self) -> None:
        await self._client.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _dispatch(self, subject: bytes, _reply: bytes, body: bytes, header: bytes | None) -> None:
        sink = self._sinks.get(subject[len(self._inbox) :])
        if sink is not None:
            sink(Reply(body, header))

    async def _note_trouble(self, error: BaseException) -> None:
        # A refused login is what went wrong, even when a broken socket is what was heard of it last.
        if self._trouble is None or not _is_refusal(self._trouble):
            self._trouble = error

    async def _on_disconnected(self) -> None:
        self._connected.clear()
        waiting, self._sinks = self._sinks, {}
        for sink in waiting.values():
            sink(ConnectionLost(f"the connection to NATS at {self._where()} broke"))
        for callback in tuple(self.on_break):
            callback()

    async def _on_reconnected(self) -> None:
        self._connected.set()

    def _where(self) -> str:
        return ", ".join(re.sub(r"^(\w+://)?([^@/]*@)?", "", server) for server in self.servers)

    def _why_not(self, error: BaseException, timeout_s: float) -> str:
        cause = self._trouble or error
        if _is_refusal(cause):
            return f"the NATS server at {self._where()} refuses the login"
        reason = f" ({cause})" if str(cause) else ""
        return f"no NATS server answers at {self._where()} within {timeout_s:g} s{reason}"


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, nats.errors.AuthorizationError) or "authorization" in str(error).lower()
