"""The feed as webhooks: each message posted to each subscriber that has an address, in order, until it is taken.

Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md): `webhook-id` is the
CloudEvent's, the same at every attempt; `webhook-timestamp` is of the attempt; `webhook-signature` has a `v1` for each
secret that is valid. A 2xx within `ANSWER_S` takes the message, 410 asks for no more, anything else is tried again.

Every node of a ledger runs this. The server hands a subscriber's next message to one of them, and hands out nothing
more until that is acknowledged or its time is over; how often a message was handed out is the count of attempts.
"""

import asyncio
import hmac
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import Any

import nats.errors
import nats.js.errors
import orjson
import structlog
from eventsourcing.persistence import OperationalError
from nats.aio.msg import Msg

from domain.event import utc_now
from infra import tracing
from infra.crypto.master import KeysMissing, MasterKeyError
from infra.crypto.sealing import SealBrokenError
from infra.deliveries import Deliveries, Delivery
from infra.feed import CONTENT_TYPE
from infra.jetstream import Connection
from infra.jetstream.access import Access
from infra.jetstream.wire import WireClient
from infra.outbound import NotAnswered, Outbound
from infra.subscriber import Subscriber, SubscriberRefused
from infra.subscribers import Subscribers

BACK_OFF_S = (5.0, 30.0, 120.0, 600.0, 3_600.0, 21_600.0)
"""What is waited after the first attempt that failed, the second, …; after one more the subscriber is paused."""
ANSWER_S = 15.0
PULL_S = 1.0
LOOK_EVERY_S = 1.0
TRY_AGAIN_S = 1.0
GONE = 410
NO_SECRET = "its secret cannot be opened: give it another (`subscribers rotate`), then resume it"  # noqa: S105 - words

log = structlog.get_logger()


class Delivering:
    """The deliveries of one node, on a thread of their own."""

    def __init__(
        self,
        servers: Access,
        connection: Connection,
        subscribers: Subscribers,
        deliveries: Deliveries,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`context` as for `Outbound`."""
        self._servers = servers
        self._connection = connection
        self._subscribers = subscribers
        self._deliveries = deliveries
        self._context = context
        self._known: dict[str, Subscriber] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._wake: Callable[[], object] = lambda: None
        self._has_connected = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="rapport-delivering", daemon=True)
        self.failure: str | None = None
        """What keeps everything from being delivered; None when nothing does."""

    def start(self) -> None:
        """Begins, and goes on where each subscriber has come to."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what is being delivered right now is given back. Safe to call twice, and without `start`."""
        self._stopping = True
        self.look()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Somebody was added or changed: does not wait until it is looked for."""
        with suppress(RuntimeError):  # its loop has ended
            self._wake()

    async def _run(self) -> None:
        awake = asyncio.Event()
        self._wake = partial(asyncio.get_running_loop().call_soon_threadsafe, awake.set)
        outbound = Outbound(self._context)
        client = WireClient()
        while not self._stopping:
            try:
                await self._keep_up(client, outbound)
                self.failure = None
            except (OperationalError, nats.errors.Error, OSError) as error:
                self._fail(str(error) or type(error).__name__)
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to; the status shows it
                self._fail(f"a fault in Rapport: {type(error).__name__}")
            awake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(awake.wait(), LOOK_EVERY_S)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await outbound.close()
        with suppress(Exception):
            await client.close()

    def _fail(self, reason: str) -> None:
        if reason != self.failure:
            log.error("webhooks are not delivered, trying again", reason=reason)
        self.failure = reason

    async def _keep_up(self, client: WireClient, outbound: Outbound) -> None:
        """A task for everybody who has an address and is not paused."""
        self._known = await asyncio.to_thread(self._subscribers.all)
        self._tasks = {name: task for name, task in self._tasks.items() if not task.done()}
        for name in self._known.keys() - self._tasks.keys():
            if self._is_on(name) and await self._can_sign(name):
                if client.is_closed or not self._has_connected:
                    await _connect(client, self._servers)
                    self._has_connected = True
                elif not client.is_connected:  # it connects again by itself; a second attempt would break the first
                    raise OperationalError("no connection to NATS")
                self._tasks[name] = asyncio.create_task(self._deliver_to(name, client, outbound))

    async def _can_sign(self, name: str) -> bool:
        """Who cannot be signed for is handed nothing, so that no attempt counts that is none.

        Raises KeysMissing: then nobody can.
        """
        try:
            await asyncio.to_thread(self._subscribers.secrets, self._known[name])
        except KeysMissing:
            raise
        except (MasterKeyError, SealBrokenError):
            log.error("a subscriber is paused", subscriber=name, reason=NO_SECRET)
            await self._pause(name, NO_SECRET)
            return False
        return True

    def _is_on(self, name: str) -> bool:
        found = self._known.get(name)
        return not self._stopping and found is not None and found.webhook is not None and found.webhook.paused is None

    async def _deliver_to(self, name: str, client: WireClient, outbound: Outbound) -> None:
        """Message by message, for as long as it is on."""
        stream = self._subscribers.feed.stream.name
        subscription = await client.jetstream().pull_subscribe_bind(name, stream)
        try:
            while self._is_on(name):
                try:
                    (message,) = await subscription.fetch(1, timeout=PULL_S)
                except (TimeoutError, nats.errors.TimeoutError):
                    continue
                self._known = await asyncio.to_thread(self._subscribers.all)
                if not self._is_on(name):  # since it was asked for, somebody has paused it, on whichever node
                    await message.nak()
                    return
                await self._deliver(await self._counted(name, message), message, outbound)
        except nats.js.errors.NotFoundError:
            pass
        except Exception as error:  # noqa: BLE001 - it is begun anew; nothing is lost by that
            log.warning("a subscriber's webhooks are held up", subscriber=name, error=type(error).__name__)
            await asyncio.sleep(TRY_AGAIN_S)
        finally:
            with suppress(Exception):
                await subscription.unsubscribe()

    async def _counted(self, name: str, message: Msg) -> Subscriber:
        """The subscriber, with attempts of this message counted anew if it was resumed."""
        found, metadata = self._known[name], message.metadata
        if found.webhook is None or not found.webhook.anew:
            return found
        changed = await asyncio.to_thread(
            self._subscribers.count_anew, name, metadata.sequence.stream, metadata.num_delivered - 1
        )
        self._known[name] = changed
        return changed

    async def _deliver(self, subscriber: Subscriber, message: Msg, outbound: Outbound) -> None:
        """One attempt, and what follows from it."""
        attempt = attempt_of(subscriber, message)
        posting = asyncio.create_task(self._post(subscriber, message, attempt, outbound))
        while not posting.done() and not self._stopping:
            await asyncio.wait([posting], timeout=0.2)
        if not posting.done():
            posting.cancel()
            await message.nak()
            return
        delivery = posting.result()
        if delivery.is_taken:
            await message.ack_sync(timeout=self._connection.request_timeout_s)
        elif delivery.again_in_s is not None:
            await message.nak(delay=delivery.again_in_s)
        else:
            what = delivery.failure or f"status {delivery.status}"
            gone, tried = "it answered 410 (gone)", f"{delivery.attempt} attempts failed ({what})"
            reason = gone if delivery.status == GONE else tried
            log.warning("a subscriber is paused", subscriber=subscriber.name, reason=reason, position=delivery.position)
            await self._pause(subscriber.name, reason)
            await message.nak()
        with suppress(OperationalError):  # the log is for people; nothing rests on it
            await self._on_connection(self._deliveries.note(subscriber.name, delivery))

    async def _post(self, subscriber: Subscriber, message: Msg, attempt: int, outbound: Outbound) -> Delivery:
        webhook, at, began = subscriber.webhook, utc_now(), perf_counter()
        assert webhook is not None  # noqa: S101 - whoever has none has no task here
        event = orjson.loads(message.data)
        id_, correlations = str(event["id"]), [event["data"].get("correlation")]
        keys = await asyncio.to_thread(self._subscribers.secrets, subscriber)
        status, failure = None, None
        try:
            headers = headers_of(id_, at, message.data, keys)
            said: dict[str, int | str] = {"subscriber": subscriber.name, "attempt": attempt}
            with tracing.posting("deliver", correlations, **said) as span:
                status = await outbound.post(
                    webhook.url, headers, message.data, ANSWER_S, allow_private=webhook.allow_private
                )
                span.answered(status)
        except NotAnswered as error:
            failure = str(error)
        delivery = Delivery(
            at=at,
            position=message.metadata.sequence.stream,
            id=id_,
            attempt=attempt,
            status=status,
            failure=failure,
            duration_ms=round((perf_counter() - began) * 1e3, 1),
        )
        if delivery.is_taken or status == GONE or attempt > len(BACK_OFF_S):
            return delivery
        return delivery.model_copy(update={"again_in_s": BACK_OFF_S[attempt - 1]})

    async def _pause(self, name: str, reason: str) -> None:
        with suppress(SubscriberRefused):  # it was removed meanwhile
            self._known[name] = await asyncio.to_thread(self._subscribers.pause, name, reason)

    async def _on_connection(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            running = asyncio.run_coroutine_threadsafe(coroutine, self._connection.loop)
        except RuntimeError:
            coroutine.close()
            raise OperationalError("the connection to NATS is closed") from None
        await asyncio.wrap_future(running)


def attempt_of(subscriber: Subscriber, message: Msg) -> int:
    """Which attempt this is, 1 for the first; since `resume` they are counted anew."""
    webhook, metadata = subscriber.webhook, message.metadata
    before = webhook.tried if webhook is not None and webhook.stuck_at == metadata.sequence.stream else 0
    return max(1, int(metadata.num_delivered) - before)


def headers_of(id_: str, at: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers of one attempt, signed by each of the keys."""
    seconds = str(int(at.timestamp()))
    content = f"{id_}.{seconds}.".encode() + body
    signatures = (b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "Content-Type": CONTENT_TYPE,
        "User-Agent": "Rapport",
        "webhook-id": id_,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


async def _connect(client: WireClient, servers: Access) -> None:
    """As everything else logs in. Raises what nats-py raises."""
    options = dict(servers.options)
    client.public_nkey = options.pop("public_nkey", None)
    await client.connect(
        list(servers.servers),
        name="rapport-delivering",
        max_reconnect_attempts=-1,
        ping_interval=5,
        error_cb=_nothing,
        **options,
    )


async def _nothing(_error: Exception) -> None:
    """Connections break and come back; what that leads to is seen where messages wait."""
