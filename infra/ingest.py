"""Deliveries on their way into the ledger: sealed, in a work queue on JetStream, until a consumer has recorded them.

A delivery is personal in ways nobody can tell beforehand. So it is sealed before it leaves the process, under a key of
the day, and such a key is destroyed some days later: a message that was acknowledged or has grown old is removed by the
server without being overwritten, and what is left of it in a block file can then be read by nobody.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from eventsourcing.persistence import OperationalError

from infra.crypto import sealing
from infra.crypto.keyring import Keyring
from infra.crypto.master import MasterKey
from infra.crypto.sealing import SealBrokenError
from infra.jetstream import ApiError, Bucket, Connection
from infra.jetstream.batch import CONFLICTS, publish_one
from infra.jetstream.server_clock import ServerClock
from infra.jetstream.stream import Stream, durable_settings, ensure, get_message, state, time_ns_of

CONSUMER = "ingest"
MOST_WAITING = 1_000_000
"""Deliveries in the queue; beyond, the door answers 503 and the provider keeps its own."""
IN_FLIGHT = 20_000
"""Deliveries that are being recorded or wait to be tried again; beyond, no others are handed out."""
ACK_WAIT_S = 10.0
"""So long after a node was killed another takes up what it had pulled; longer than recording takes."""
SEEN_FOR = timedelta(hours=36)
"""How long a token or a body is known: longer than a signature is taken, and than a provider tries again."""
KEPT_SECRET = frozenset({"authorization", "proxy-authorization", "cookie"})
"""Headers that say who may send, which nobody needs for reading; they are not stored."""
_DAY = 10
_NAME = re.compile(r"[a-z]+\.\d{4}-\d\d-\d\d\Z")


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery as it was taken. With `records`, `body` is a JSON array of interaction records in place of it."""

    provider: str
    received_at: datetime
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    records: bool = False
    again_at: datetime | None = None
    """When it came, where the same bytes had first come at `received_at`, and that is what counts."""
    correlation: str | None = None
    """Of the request that brought it; of everything that comes of it."""


class Depth(NamedTuple):
    """What waits in the queue."""

    messages: int
    oldest_s: float


class Seals:
    """Sealing under keys of the day, `<purpose>.<day>`, in a bucket of their own: `queue` or `dead`."""

    def __init__(self, connection: Connection, master: MasterKey, replicas: int = 1) -> None:
        self.bucket = Bucket(connection, "ingest_keys", replicas=replicas)
        self._keyring = Keyring(self.bucket, master)
        self.clock = ServerClock(connection, self.bucket.stream)
        """Which day it is: by its own clock a node could destroy the key that another one seals under."""

    def seal(self, purpose: str, taken: Taken, more: Mapping[str, Any] | None = None) -> bytes:
        """`<day><sealed>`, bound to purpose, day and provider. Raises OperationalError when there is no key."""
        return self._sealed(_name_of(purpose, self.clock.now()), taken, more)

    def seal_at_hand(self, purpose: str, taken: Taken) -> bytes | None:
        """As `seal`, for a thread that runs an event loop; None when a server must be asked for the day or its key."""
        now = self.clock.now_if_set()
        if now is None or not self._keyring.is_at_hand(name := _name_of(purpose, now)):
            return None
        return self._sealed(name, taken)

    def _sealed(self, name: str, taken: Taken, more: Mapping[str, Any] | None = None) -> bytes:
        day = name.rpartition(".")[2]
        head = {
            "received_at": taken.received_at.isoformat(),
            "headers": {name: value for name, value in taken.headers.items() if name not in KEPT_SECRET},
            "records": taken.records,
            "again_at": None if taken.again_at is None else taken.again_at.isoformat(),
            "correlation": taken.correlation,
            "more": more or {},
        }
        key = self._keyring.make([name])[name]
        text = orjson.dumps(head) + b"\n" + taken.body
        try:
            return day.encode() + sealing.seal(key, text, _context(name, taken.provider))
        except SealBrokenError as error:
            raise OperationalError(f"the key of the day cannot be used: {error}") from error

    def open(self, purpose: str, provider: str, stored: bytes) -> tuple[Taken, dict[str, Any]]:
        """What was sealed. Raises SealBrokenError when it cannot be opened, now or ever; OperationalError."""
        name = f"{purpose}.{stored[:_DAY].decode('ascii', 'replace')}"
        key = self._keyring.existing([name]).get(name) if _NAME.match(name) else None
        if key is None:
            raise SealBrokenError("the key of its day is gone")
        head, _, body = sealing.unseal(key, stored[_DAY:], _context(name, provider)).partition(b"\n")
        found = orjson.loads(head)
        again_at = datetime.fromisoformat(found["again_at"]) if found.get("again_at") else None
        received_at = datetime.fromisoformat(found["received_at"])
        taken = Taken(
            provider, received_at, found["headers"], body, found["records"], again_at, found.get("correlation")
        )
        return taken, found["more"]

    def destroy_before(self, purpose: str, day: date) -> int:
        """Destroys the purpose's keys of days before `day`; how many. Raises OperationalError."""
        first = f"{purpose}.{day.isoformat()}"
        old = [name for name in self.bucket.load_all() if name.startswith(f"{purpose}.") and name < first]
        for name in old:
            self.bucket.destroy(name)
            self._keyring.forget(name)
        return len(old)


class Queue:
    """The work queue of one ledger: stream `INGEST`, a message a delivery. Safe to share between threads."""

    def __init__(self, connection: Connection, seals: Seals, replicas: int = 1, name: str = "INGEST") -> None:
        self.stream = Stream(name, name.lower(), replicas)
        self._connection = connection
        self._seals = seals
        own = {"max_msgs_per_subject": -1, "allow_rollup_hdrs": False, "deny_purge": False}
        queue = durable_settings(self.stream, retention="workqueue", max_msgs=MOST_WAITING, **own)
        connection.call(ensure(connection, self.stream, queue))
        self._seen = Stream(f"{name}_SEEN", f"{name.lower()}_seen", replicas)
        seen = durable_settings(self._seen, max_age=int(SEEN_FOR.total_seconds()) * 10**9, discard="old", **own)
        connection.call(ensure(connection, self._seen, seen))
        connection.call(
            connection.api(f"CONSUMER.CREATE.{name}.{CONSUMER}", {"stream_name": name, "config": _consumer()})
        )

    def sealed(self, taken: Taken) -> bytes:
        """What `store` takes. Raises OperationalError, DataError when it is too large."""
        return self._seals.seal("queue", taken)

    def sealed_at_hand(self, taken: Taken) -> bytes | None:
        """As `sealed`, at once and for any thread; None when that asks a server."""
        return self._seals.seal_at_hand("queue", taken)

    def open(self, provider: str, stored: bytes) -> Taken:
        """As `Seals.open`."""
        return self._seals.open("queue", provider, stored)[0]

    async def store(self, provider: str, sealed: bytes) -> None:
        """Returns when the server has it on disk. To be awaited on the connection's loop. Raises OperationalError."""
        timeout_s = self._connection.request_timeout_s
        await publish_one(self._connection, self.subject(provider), sealed, None, timeout_s=timeout_s)

    def put(self, taken: Taken) -> None:
        """`store` for callers' threads."""
        self.put_sealed(taken.provider, self.sealed(taken))

    def put_sealed(self, provider: str, sealed: bytes) -> None:
        """Puts back what lay here before, as it was."""
        self._connection.call(self.store(provider, sealed))

    async def is_used(self, provider: str, token: str, happening: str) -> bool:
        """Whether the token came with another happening before; else it is noted with this one. On any node."""
        what = sha256(f"{token}\n{happening}".encode("utf-8", "surrogatepass")).digest()
        return await self._first(provider, token.encode("utf-8", "surrogatepass"), what) != what

    async def first_received(self, provider: str, body: bytes, received_at: datetime) -> datetime:
        """When these very bytes first came, to whichever node; now, if they did not."""
        first = await self._first(provider, body, received_at.isoformat().encode())
        return datetime.fromisoformat(first.decode())

    async def _first(self, provider: str, thing: bytes, value: bytes) -> bytes:
        """What was first noted of `thing`, which is known by its digest alone; `value`, if nothing was."""
        subject = f"{self._seen.prefix}.{provider}.{sha256(thing).hexdigest()}"
        try:
            await publish_one(self._connection, subject, value, 0, timeout_s=self._connection.request_timeout_s)
        except ApiError as error:
            if error.code not in CONFLICTS:
                raise
            noted = await get_message(self._connection, self._seen, last_by_subj=subject)
            return value if noted is None else noted.body
        return value

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
        return f"{self.stream.prefix}.{provider}"

    def provider_of(self, subject: str) -> str:
        """The provider that a subject names."""
        return subject[len(self.stream.prefix) + 1 :]


def _name_of(purpose: str, at: datetime) -> str:
    """The name of the key of that day."""
    return f"{purpose}.{at.date().isoformat()}"


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


def _context(name: str, provider: str) -> bytes:
    return f"rapport ingest|{name}|{provider}".encode()
