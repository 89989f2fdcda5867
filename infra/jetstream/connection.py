"""One connection to NATS for the whole process: an asyncio loop on a thread of its own, shared by every caller."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import ssl
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any, Self, TypeVar

import nats.errors
import orjson
from eventsourcing.persistence import DataError, OperationalError

from infra.jetstream.access import Access, access
from infra.jetstream.lane import Lanes, Request, require_process
from infra.jetstream.replies import NO_RESPONDERS, ApiError, ConnectionLost, Reply, read_api_reply
from infra.jetstream.wire import NoTlsError, WireClient

T = TypeVar("T")

UNAVAILABLE = 10008
READ_TRY_S = 2.0  # a cluster that elects a leader answers nothing, and later answers at once


class Connection:
    """Connects at once, reconnects for as long as it is open.

    `servers` are an `Access`, or what `access` takes. With `jetstream=False` any NATS server will do; `api_prefix` is
    what `$JS.API` is called here. `options` go to nats-py. Raises OperationalError within `connect_timeout_s` when no
    server answers, when the login is refused, when TLS cannot be agreed on, and when the server has no JetStream.
    """

    def __init__(
        self,
        servers: str | Sequence[str] | Access = "nats://127.0.0.1:4222",
        *,
        connect_timeout_s: float = 5.0,
        request_timeout_s: float = 10.0,
        jetstream: bool = True,
        api_prefix: str = "$JS.API",
        **options: Any,
    ) -> None:
        way = servers if isinstance(servers, Access) else access(servers)
        self.servers = way.servers
        self.request_timeout_s = request_timeout_s
        self._api_prefix = api_prefix
        with ThreadPoolExecutor(1) as beside:  # here, a signal could leave it half made
            self.loop = beside.submit(asyncio.new_event_loop).result()
        self._process = os.getpid()
        self.breaks = 0
        """How often the connection broke."""
        self._client = WireClient()
        self.lanes = Lanes(self._client)
        """Blocking connections for calls that must not wait for the loop."""
        self._tokens = itertools.count()
        self._sinks: dict[bytes, Callable[[Reply | ConnectionLost], None]] = {}
        self.on_break: set[Callable[[], None]] = set()
        """Called, on the loop, whenever the connection breaks."""
        self._inbox = ""
        self._connected = asyncio.Event()
        self._trouble: BaseException | None = None
        self._closed = False
        self._closing = False
        self._thread = threading.Thread(target=self.loop.run_forever, name="rapport-nats", daemon=True)
        self._thread.start()
        try:
            self.call(self._open(connect_timeout_s, way.options | options), connect_timeout_s + 5.0)
            if jetstream:
                self.call(self._require_jetstream(), request_timeout_s + 5.0)
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
        return self.begin(coroutine, timeout_s)()

    def begin(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> Callable[[], T]:
        """Starts `coroutine` as `call` does; what is returned waits for it, once, and raises what `call` raises."""
        try:
            require_process(self._process)
        except OperationalError:
            coroutine.close()
            raise
        if self._closed or threading.current_thread() is self._thread:
            coroutine.close()
            raise OperationalError("the NATS connection is closed" if self._closed else "call() on its own loop")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)

        def wait() -> T:
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

        return wait

    def post(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs `coroutine` on the loop some time soon without waiting for it; after close, not at all."""
        try:
            asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:  # the loop is closed
            coroutine.close()

    async def ask(self, subject: str, body: bytes = b"", header: bytes = b"") -> asyncio.Future[Reply]:
        """Sends a request; the future has the reply, or ConnectionLost when the connection breaks or nobody listens."""
        (answer,) = await self.ask_all([Request(subject, header, body)])
        return answer

    async def ask_all(self, requests: Sequence[Request]) -> list[asyncio.Future[Reply]]:
        """Sends all requests in one go; a future as of `ask` for each that is answered."""
        answers: list[asyncio.Future[Reply]] = []
        messages = []
        for subject, header, body, answered in requests:
            reply = ""
            if answered:
                token, answer = self._awaited(subject)
                answers.append(answer)
                reply = self._inbox + token.decode()
            messages.append((subject, reply, header, body))
        try:
            await self._write(messages)
        except BaseException:
            for answer in answers:
                answer.cancel()
            raise
        return answers

    def _awaited(self, subject: str) -> tuple[bytes, asyncio.Future[Reply]]:
        token = b"%x" % next(self._tokens)
        answer: asyncio.Future[Reply] = self.loop.create_future()

        def settle(reply: Reply | ConnectionLost) -> None:
            if answer.done():
                return
            if isinstance(reply, Reply) and reply.header is not None and reply.header.startswith(NO_RESPONDERS):
                reply = ConnectionLost(f"nobody answers {subject} at {self._where()}")
            if isinstance(reply, ConnectionLost):
                answer.set_exception(reply)
                answer.exception()  # whoever gave up waiting need not be told that nobody looked
            else:
                answer.set_result(reply)

        self._sinks[token] = settle
        answer.add_done_callback(lambda _: self._sinks.pop(token, None))
        return token, answer

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
        await self._write([(subject, reply, header, body)])

    async def _write(self, messages: Sequence[tuple[str, str, bytes, bytes]]) -> None:
        try:
            await self._client.write(messages)
        except nats.errors.MaxPayloadError:
            size = max(len(header) + len(body) for _, _, header, body in messages)
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
        """A call of JetStream's API. Raises ApiError when JetStream refuses, ConnectionLost when it is silent."""
        body = orjson.dumps(request) if request else b""
        reply = await self.request(f"{self._api_prefix}.{name}", body, timeout_s=timeout_s)
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
        """Returns when a server is connected. Raises ConnectionLost after `timeout_s`, and once `close` was called."""
        try:
            await asyncio.wait_for(self._connected.wait(), timeout_s)
        except TimeoutError:
            raise ConnectionLost(f"no connection to NATS at {self._where()} for {timeout_s:g} s") from None
        if self._closing:
            raise ConnectionLost("the NATS connection was closed meanwhile")

    def close(self) -> None:
        """Closes the connection and ends its thread. Safe to call twice."""
        if self._closed:
            return
        self.lanes.close()
        with contextlib.suppress(OperationalError):
            self.call(self._shut(), 5.0)
        self._closed = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self.loop.run_until_complete(self._shut())  # what others posted meanwhile
            self.loop.close()

    async def _open(self, timeout_s: float, options: dict[str, Any]) -> None:
        settings = {"reconnect_time_wait": 0.2, "connect_timeout": 2, "ping_interval": 5, "name": "rapport", **options}
        self._client.public_nkey = settings.pop("public_nkey", None)
        connecting = self._client.connect(
            list(self.servers),
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

    async def _require_jetstream(self) -> None:
        try:
            if self._client._server_info.get("jetstream"):
                await self.read_api("INFO")  # a cluster may be electing its leader
            else:
                await self.api("INFO", timeout_s=READ_TRY_S)  # there may be JetStream behind this server
        except ApiError as error:
            raise OperationalError(f"no JetStream at {self._where()} for this login: {error.description}") from error
        except ConnectionLost as error:
            raise OperationalError(
                f"the server at {self._where()} does not have JetStream enabled; start it with -js"
                if not self._client._server_info.get("jetstream")
                else f"JetStream at {self._where()} does not answer: the cluster may have no majority"
            ) from error

    async def _shut(self) -> None:
        self._closing = True
        self._connected.set()  # whoever waits for a server may stop
        with contextlib.suppress(OSError, nats.errors.Error):  # of a socket that is just breaking
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
        if self._trouble is None or not _is_telling(self._trouble):
            self._trouble = error

    async def _on_disconnected(self) -> None:
        self.breaks += 1
        if not self._closing:
            self._connected.clear()
        waiting, self._sinks = self._sinks, {}
        for sink in waiting.values():
            sink(ConnectionLost(f"the connection to NATS at {self._where()} broke"))
        for callback in tuple(self.on_break):
            callback()

    async def _on_reconnected(self) -> None:
        self._connected.set()

    def _where(self) -> str:
        return ", ".join(server.partition("://")[2] for server in self.servers)

    def _why_not(self, error: BaseException, timeout_s: float) -> str:
        cause = self._trouble or error
        if _is_refusal(cause):
            return f"the NATS server at {self._where()} refuses the login"
        if isinstance(cause, ssl.SSLError | NoTlsError):
            reason = getattr(cause, "verify_message", None) or cause.strerror or str(cause)
            return f"there is no TLS to be had with the NATS server at {self._where()}: {reason}"
        reason = f" ({cause})" if str(cause) else ""
        return f"no NATS server answers at {self._where()} within {timeout_s:g} s{reason}"


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, nats.errors.AuthorizationError) or "authorization" in str(error).lower()


def _is_telling(error: BaseException) -> bool:
    return _is_refusal(error) or isinstance(error, ssl.SSLError | NoTlsError)
