"""Deliveries from the queue into the ledger: a FastStream application on a thread and a loop of its own.

FastStream pulls, hands over and acknowledges; deliveries that were pulled together are settled together, on a thread,
because recording blocks. What was not settled when the node stops is returned to the queue at once.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, cast

import nats.errors
import orjson
import structlog
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub

from consumers.settling import Message, Settle, backoff_s
from infra.ingest import ACK_WAIT_S, CONSUMER, Queue
from infra.jetstream.access import Access
from infra.jetstream.wire import WireClient

AT_ONCE = 256
"""Deliveries pulled in one go, and settled together; more are pulled when all of them are settled."""
SETTLED_BYTES, PULLED_BYTES = 1 << 20, 16 << 20
"""Of large ones fewer: those of so many bytes are settled together, and so many bytes are pulled in one go.

A megabyte may be 2,700 happenings. The memory that settling takes and the time a node takes to stop grow with it.
"""
HELD_S = ACK_WAIT_S / 4
"""So often the server is told that a delivery is still at hand; it would hand it out again, to be settled twice."""
PULL_S = 0.2
"""How long a pull waits for deliveries, and so how long a node takes to stop. One that comes meanwhile is not late."""
PULLED_S = 5.0
"""How long the next message of a pull that the server has begun to answer may take, on a connection that broke say."""
TRY_AGAIN_S = 1.0
FLUSH_S = 2
STOP_S = 15.0

OVER = ("404", "408", "409")
"""What ends a pull that is not full: nothing more is there, its time is over, or its bytes are all used."""

log = structlog.get_logger()


class Broker(NatsBroker):
    """FastStream's, over our client: it takes every login that the node does, and does not give up on a server."""

    def __init__(self, servers: Access) -> None:
        super().__init__(list(servers.servers), logger=None, apply_types=False, graceful_timeout=STOP_S)
        self._way = servers

    async def _connect(self) -> WireClient:
        client, options = WireClient(), dict(self._way.options)
        client.public_nkey = options.pop("public_nkey", None)
        await client.connect(
            list(self._way.servers),
            name="rapport-ingest",
            max_reconnect_attempts=-1,
            ping_interval=5,
            error_cb=_nothing,
            **options,
        )
        self.config.connect(client)
        return client


async def _nothing(_error: Exception) -> None:
    """Connections break and come back; what that leads to is seen where deliveries wait."""


class _Turn(NamedTuple):
    message: Message
    done: asyncio.Future[float | None]

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.message.stored)


class Ingest:
    """The consumer of one node; several nodes share the queue."""

    def __init__(self, servers: Access, queue: Queue, settle: Settle) -> None:
        self._servers = servers
        self._queue = queue
        self._settle = settle
        self._turns: list[_Turn] = []
        self._wake = asyncio.Event()
        self._parked = asyncio.Event()
        self._muted = False
        self._over: Callable[[], object] = lambda: None
        self._fault: str | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._stopping = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rapport-ingest", daemon=True)

    def start(self) -> None:
        """Begins to consume, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Finishes what is being settled and returns the rest. Safe to call twice, and without `start`."""
        self._stopping = True
        if self._thread.is_alive():
            self._ready.wait(STOP_S)
            self._over()
            self._thread.join()

    @property
    def failure(self) -> str | None:
        """Why nothing is recorded though nobody stopped it; None when that is not so, and before `start`."""
        if self._thread.ident is None or self._stopping:
            return None
        if self._thread.is_alive() and not any(map(_is_broken, self._tasks)):
            return self._fault
        return "what records them has ended; start the node again"

    def _run(self) -> None:
        asyncio.run(self._consume())

    async def _consume(self) -> None:
        over, loop = asyncio.Event(), asyncio.get_running_loop()
        self._over = partial(loop.call_soon_threadsafe, over.set)
        broker = self._application()
        settling = asyncio.create_task(self._settle_all())
        starting = asyncio.create_task(self._start(broker))
        self._tasks = settling, starting
        self._ready.set()
        await over.wait()
        if starting.done():  # FastStream drops what it has pulled and not begun; so that is returned before it stops
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._parked.wait(), STOP_S)
        starting.cancel()
        with contextlib.suppress(Exception):  # of a server that is gone; it knows of nothing that we would return
            await asyncio.wait_for(broker.stop(), STOP_S)
        settling.cancel()

    async def _start(self, broker: NatsBroker) -> None:
        while True:
            try:
                await broker.start()
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, deliveries wait in the queue meanwhile
                log.warning("deliveries cannot be pulled, trying again", error=type(error).__name__)
                await asyncio.sleep(TRY_AGAIN_S)
        for subscriber in broker.subscribers:
            subscription = cast(Any, subscriber).subscription
            subscription.fetch = partial(self._fetch, subscription)

    async def _fetch(self, subscription: Any, **_: Any) -> list[Any]:
        """What is in the queue, until the consumer stops. Then what the last pull may still have brought, once; then
        nothing. Raises TimeoutError when there is nothing.
        """
        inbox = subscription._sub
        if not self._stopping:
            return await _pulled(subscription)
        if not self._muted:
            self._muted = True
            with contextlib.suppress(nats.errors.Error, OSError):
                await inbox._conn._send_unsubscribe(inbox._id)
                await inbox._conn.flush(FLUSH_S)  # what the server sent before it heard of that has come by now
            found = [inbox._pending_queue.get_nowait() for _ in range(inbox._pending_queue.qsize())]
            if rest := [message for message in found if message.reply]:
                return rest
        self._parked.set()
        await asyncio.Event().wait()
        return []

    def _application(self) -> NatsBroker:
        broker = Broker(self._servers)

        @broker.subscriber(
            f"{self._queue.stream.prefix}.>",
            stream=JStream(self._queue.stream.name, declare=False),
            durable=CONSUMER,
            pull_sub=PullSub(batch_size=AT_ONCE, timeout=PULL_S),
            ack_policy=AckPolicy.MANUAL,
            decoder=_as_it_is,
            no_reply=True,
        )
        async def settle(message: NatsMessage) -> None:
            raw = message.raw_message
            provider = self._queue.provider_of(raw.subject)
            metadata = raw.metadata
            delivery = Message(provider, raw.data, metadata.num_delivered, metadata.sequence.stream)
            turn = _Turn(delivery, asyncio.get_running_loop().create_future())
            self._turns.append(turn)
            self._wake.set()
            while not (await asyncio.wait([turn.done], timeout=HELD_S))[0]:
                with contextlib.suppress(nats.errors.Error, OSError):
                    await raw.in_progress()
            wait_s = turn.done.result()
            await (message.ack() if wait_s is None else message.nack(delay=wait_s))

        return broker

    async def _settle_all(self) -> None:
        """Settles what has been pulled, all of it at a time."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._turns:
                count = _settled_together(self._turns)
                turns, self._turns = self._turns[:count], self._turns[count:]
                for turn, wait_s in zip(turns, await self._settled(turns), strict=True):
                    if not turn.done.done():
                        turn.done.set_result(wait_s)

    async def _settled(self, turns: list[_Turn]) -> list[float | None]:
        if self._stopping:
            return [0.0] * len(turns)
        try:
            waits = await asyncio.to_thread(self._settle, [turn.message for turn in turns])
        except Exception as error:  # noqa: BLE001 - nothing may end the consumer; they come again
            self._fault = f"a fault of Rapport ({type(error).__name__})"
            log.error("deliveries not settled", error=type(error).__name__, count=len(turns))
            return [backoff_s(turn.message.attempt) for turn in turns]
        self._fault = None
        return waits


async def _pulled(subscription: Any) -> list[Any]:
    """What there is at once, or else what comes next. Raises TimeoutError when nothing does within `PULL_S`.

    In place of nats-py's own, which returns after a time whether or not the server has sent all: what came later would
    lie with the client, of which the server is told nothing, until it hands that out once more. And it knows no bound
    to the bytes.
    """
    inbox, expires_ns = subscription._sub, int(PULL_S * 1e9)
    bytes_ = max(PULLED_BYTES, 2 * inbox._conn.max_payload)  # one that is over it would never be handed out
    late = [inbox._pending_queue.get_nowait() for _ in range(inbox._pending_queue.qsize())]
    inbox._pending_size -= sum(len(message.data) for message in late)
    if found := [message for message in late if message.reply]:  # of a pull that a broken connection cut short
        return found
    at_once = {"no_wait": True, "max_bytes": bytes_}
    if found := await _asked(subscription, {"batch": AT_ONCE} | at_once):
        return found
    found = await _asked(subscription, {"batch": 1, "expires": expires_ns})
    if not found:
        raise TimeoutError
    return found + await _asked(subscription, {"batch": AT_ONCE - 1} | at_once)


async def _asked(subscription: Any, request: dict[str, Any]) -> list[Any]:
    """All that the server sends for a request, to the last: the whole batch, or the message that says it is the end."""
    await subscription._nc.publish(subscription._nms, orjson.dumps(request), subscription._deliver)
    found: list[Any] = []
    while len(found) < request["batch"]:
        try:
            message = await subscription._sub.next_msg(timeout=PULLED_S)
        except nats.errors.TimeoutError:
            break
        if not message.reply:
            if (message.headers or {}).get("Status") not in OVER:
                await asyncio.sleep(PULL_S)  # nobody leads the consumer, say
            break
        found.append(message)
    return found


def _settled_together(turns: Sequence[_Turn]) -> int:
    """How many of the first."""
    sizes = accumulate(turn.size for turn in turns[:AT_ONCE])
    return max(1, sum(size <= SETTLED_BYTES for size in sizes))


def _is_broken(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


async def _as_it_is(message: Any) -> Any:
    """The message in place of a decoded body: its bytes are sealed."""
    return message
