"""Deliveries on their way into the ledger: sealed, in a work queue on JetStream, until a consumer has recorded them."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from infra.crypto.sealing import SealBrokenError
from infra.ingest_seals import LentKey, Seals, Taken
from infra.jetstream import ApiError, Connection
from infra.jetstream.batch import CONFLICTS, publish_one
from infra.jetstream.stream import Stream, durable_settings, ensure, get_message, state, time_ns_of
from infra.nats_accounts import Guest

QUEUE, SEEN = "INGEST", "INGEST_SEEN"

CONSUMER = "ingest"
MOST_WAITING = 1_000_000
"""Deliveries in the queue; beyond, the door answers 503 and the provider keeps its own."""
IN_FLIGHT = 20_000
"""Deliveries that are being recorded or wait to be tried again; beyond, no others are handed out."""
ACK_WAIT_S = 10.0
"""So long after a node was killed another takes up what it had pulled; longer than recording takes."""
SEEN_FOR = timedelta(hours=36)
"""How long a token is known: longer than a signature is taken, and than a provider tries again."""
OWN = b"+"
"""What a node has put into the queue begins with that."""
DOOR_API = "DOOR.API"
"""What a door calls `$JS.API`, where it has an account of its own."""


class Depth(NamedTuple):
    """What waits in the queue."""

    messages: int
    oldest_s: float


class Inlet:
    """Where deliveries are put into the queue, which has been declared. It reads none. Safe to share between threads.

    `seal` makes of one what is stored, and may ask a server for it; `seal_at_hand` does not, and gives None instead.
    """

    def __init__(
        self,
        connection: Connection,
        seal: Callable[[Taken], bytes],
        seal_at_hand: Callable[[Taken], bytes | None],
        queue: str = QUEUE,
        seen: str = SEEN,
    ) -> None:
        self.sealed = seal
        self.sealed_at_hand = seal_at_hand
        self._connection = connection
        self._queue, self._seen = Stream(queue, queue.lower()), Stream(seen, seen.lower())

    async def store(self, provider: str, sealed: bytes) -> None:
        """Returns when the server has it on disk. To be awaited on the connection's loop. Raises OperationalError."""
        timeout_s = self._connection.request_timeout_s
        await publish_one(self._connection, _subject(self._queue, provider), sealed, None, timeout_s=timeout_s)

    async def is_used(self, provider: str, token: str, happening: str) -> bool:
        """Whether the token came with another happening before; else it is noted with this one. On any node."""
        what = sha256(f"{token}\n{happening}".encode("utf-8", "surrogatepass")).digest()
        digest = sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
        subject = f"{self._seen.prefix}.{provider}.{digest}"
        try:
            await publish_one(self._connection, subject, what, 0, timeout_s=self._connection.request_timeout_s)
        except ApiError as error:
            if error.code not in CONFLICTS:
                raise
            noted = await get_message(self._connection, self._seen, last_by_subj=subject)
            return noted is not None and noted.body != what
        return False


def inlet_of_door(connection: Connection, key: LentKey) -> Inlet:
    """With what its node gives it: a connection and a key."""
    return Inlet(connection, key.seal, key.seal)


def guest_at_door(user: str, password: str) -> Guest:
    """What a door may do on the NATS server: put deliveries into the queue, and note and see what was seen before."""
    queue, seen = QUEUE.lower(), SEEN.lower()
    noted = f"STREAM.MSG.GET.{SEEN}"
    services = {
        f"{queue}.*": f"{queue}.*",
        f"{seen}.*.*": f"{seen}.*.*",
        f"{DOOR_API}.{noted}": f"$JS.API.{noted}",
    }
    return Guest("door", {"user": user, "password": password}, services)


class Queue:
    """The work queue of one ledger: stream `INGEST`, a message a delivery. Safe to share between threads."""

    def __init__(self, connection: Connection, seals: Seals, replicas: int = 1, name: str = QUEUE) -> None:
        self.stream = Stream(name, name.lower(), replicas)
        self._connection = connection
        self._seals = seals
        seen = f"{name}_SEEN"
        self.inlet = Inlet(connection, partial(seals.seal, "queue"), partial(seals.seal_at_hand, "queue"), name, seen)
        own = {"max_msgs_per_subject": -1, "allow_rollup_hdrs": False, "deny_purge": False}
        queue = durable_settings(self.stream, retention="workqueue", max_msgs=MOST_WAITING, **own)
        connection.call(ensure(connection, self.stream, queue))
        memory = Stream(seen, seen.lower(), replicas)
        kept = durable_settings(memory, max_age=int(SEEN_FOR.total_seconds()) * 10**9, discard="old", **own)
        connection.call(ensure(connection, memory, kept))
        connection.call(
            connection.api(f"CONSUMER.CREATE.{name}.{CONSUMER}", {"stream_name": name, "config": _consumer()})
        )

    def open(self, provider: str, stored: bytes) -> Taken:
        """As `Seals.open`. Records come from a node alone: whatever a door seals is a delivery, to be read as one."""
        if stored.startswith(OWN):
            return self._seals.open("own", provider, stored[len(OWN) :])[0]
        taken, _ = self._seals.open("queue", provider, stored)
        if taken.records:
            raise SealBrokenError("records that no node has put there")
        return taken

    def put(self, taken: Taken) -> None:
        """Puts one back. Returns when the server has it on disk. Raises OperationalError, DataError when it is too
        large."""
        self.put_sealed(taken.provider, OWN + self._seals.seal("own", taken))

    def put_sealed(self, provider: str, sealed: bytes) -> None:
        """Puts back what lay here before, as it was. As `put`."""
        self._connection.call(self.inlet.store(provider, sealed))

    def depth(self) -> Depth:
        """How many deliveries wait or are being recorded, and how old the oldest is. Raises OperationalError."""
        held = self._connection.call(state(self._connection, self.stream))
        if not held["messages"]:
            return Depth(0, 0.0)
        return Depth(held["messages"], max(0.0, round(self._seals.clock.now().timestamp() - _first_s(held), 3)))

    def keys_needed_from(self) -> date:
        """The first day whose key may still be needed: sealed before midnight, stored after it. As `depth`."""
        return (self._seals.clock.now() - timedelta(days=1, seconds=self.depth().oldest_s)).date()

    def subject(self, provider: str) -> str:
        """Where a provider's deliveries lie."""
        return _subject(self.stream, provider)

    def provider_of(self, subject: str) -> str:
        """The provider that a subject names."""
        return subject[len(self.stream.prefix) + 1 :]


def _subject(stream: Stream, provider: str) -> str:
    return f"{stream.prefix}.{provider}"


def _consumer() -> dict[str, Any]:
    """Redelivered for as long as it takes: what is poison is found by the nodes, not by the server."""
    return {
        "name": CONSUMER,
        "durable_name": CONSUMER,
        "ack_policy": "explicit",
        "ack_wait": int(ACK_WAIT_S * 1e9),
        "max_deliver": -1,
        "max_ack_pending": IN_FLIGHT,
    }


def _first_s(held: Mapping[str, Any]) -> float:
    return time_ns_of(held["first_ts"]) / 1e9
