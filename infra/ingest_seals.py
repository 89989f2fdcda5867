"""Deliveries sealed, before they leave the process, under a key of the day: `queue`, as they come; `own`, as a node
puts them back into the queue; `dead`, as letters. A door is lent the first alone.

A delivery is personal in ways nobody can tell beforehand. Such a key is destroyed some days later: a message that was
acknowledged or has grown old is removed by the server without being overwritten, and what is left of it in a block file
can then be read by nobody.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

import orjson
from eventsourcing.persistence import OperationalError

from infra.crypto import sealing
from infra.crypto.keyring import Keyring
from infra.crypto.master import MasterKey
from infra.crypto.sealing import DamagedKey, SealBrokenError
from infra.jetstream import Bucket, Connection
from infra.jetstream.server_clock import ServerClock

KEPT_SECRET = frozenset({"authorization", "proxy-authorization", "cookie"})
"""Headers that say who may send, which nobody needs for reading; they are not stored."""
LENT_FOR_S = 20 * 3_600.0
"""So long a door may seal under a key that it was told of. None is destroyed within a day of its own (`destroy_before`
with `Queue.keys_needed_from`)."""
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
    correlation: str | None = None
    """Of the request that brought it; of everything that comes of it."""


class DayKey(NamedTuple):
    """A key and its name, `<purpose>.<day>`; when it was known to be the day's, by this machine's two clocks."""

    name: str
    key: bytes
    monotonic_s: float
    wall_s: float


class Seals:
    """Sealing under keys of the day, `<purpose>.<day>`, in a bucket of their own."""

    def __init__(self, connection: Connection, master: MasterKey, replicas: int = 1) -> None:
        self.bucket = Bucket(connection, "ingest_keys", replicas=replicas)
        self._keyring = Keyring(self.bucket, master)
        self.clock = ServerClock(connection, self.bucket.stream)
        """Which day it is: by its own clock a node could destroy the key that another one seals under."""

    def seal(self, purpose: str, taken: Taken, more: Mapping[str, Any] | None = None) -> bytes:
        """`<day><sealed>`, bound to purpose, day and provider. Raises OperationalError when there is no key."""
        return _sealed(self.key_of_today(purpose), taken, more)

    def seal_at_hand(self, purpose: str, taken: Taken) -> bytes | None:
        """As `seal`, for a thread that runs an event loop; None when a server must be asked for the day or its key."""
        now = self.clock.now_if_set()
        if now is None or not self._keyring.is_at_hand(name := _name_of(purpose, now)):
            return None
        return _sealed(self._key(name), taken)

    def key_of_today(self, purpose: str) -> DayKey:
        """The key that is sealed under now, made if there is none yet. Raises OperationalError, also where it is
        damaged."""
        return self._key(_name_of(purpose, self.clock.now()))

    def _key(self, name: str) -> DayKey:
        at = time.monotonic(), time.time()
        key = self._keyring.make([name])[name]
        if isinstance(key, DamagedKey):
            raise OperationalError(f"the key of the day cannot be used: {key.reason}")
        return DayKey(name, key, *at)

    def open(self, purpose: str, provider: str, stored: bytes) -> tuple[Taken, dict[str, Any]]:
        """What was sealed. Raises SealBrokenError when it cannot be opened, now or ever; OperationalError."""
        name = f"{purpose}.{stored[:_DAY].decode('ascii', 'replace')}"
        key = self._keyring.existing([name]).get(name) if _NAME.match(name) else None
        if key is None:
            raise SealBrokenError("the key of its day is gone")
        head, _, body = sealing.unseal(key, stored[_DAY:], _context(name, provider)).partition(b"\n")
        found = orjson.loads(head)
        # An older version noted when the same bytes had first come, and this time beside it.
        received_at = datetime.fromisoformat(found.get("again_at") or found["received_at"])
        taken = Taken(provider, received_at, found["headers"], body, found["records"], found.get("correlation"))
        return taken, found["more"]

    def destroy_before(self, purpose: str, day: date) -> int:
        """Destroys the purpose's keys of days before `day`; how many. Raises OperationalError."""
        first = f"{purpose}.{day.isoformat()}"
        old = [name for name in self.bucket.load_all() if name.startswith(f"{purpose}.") and name < first]
        for name in old:
            self.bucket.destroy(name)
        self._keyring.forget_all(lambda name: name.startswith(f"{purpose}.") and name < first)  # by others as well
        return len(old)


class LentKey:
    """The key of the day, lent by the node to its door, which can get at no other. Safe to share between threads."""

    def __init__(self) -> None:
        self._key: DayKey | None = None

    def lend(self, key: DayKey) -> None:
        """Seals under this one from now on, and has no other any more."""
        before, self._key = self._key, key
        if before is not None and before.key != key.key:
            sealing.forget_keys()

    @property
    def is_good(self) -> bool:
        """Whether there is one, and the last cannot have been destroyed by now: a node lends it again and again."""
        return self._good() is not None

    def seal(self, taken: Taken) -> bytes:
        """As `Seals.seal`, for the queue. Raises OperationalError when there is none that is good."""
        if (key := self._good()) is None:
            raise OperationalError("the node does not say which key deliveries are sealed under")
        return _sealed(key, taken)

    def _good(self) -> DayKey | None:
        if (key := self._key) is None:
            return None
        # Whichever has gone further: the machine may have slept, or its clock been set back.
        passed_s = max(time.monotonic() - key.monotonic_s, time.time() - key.wall_s)
        return key if passed_s < LENT_FOR_S else None


def _sealed(key: DayKey, taken: Taken, more: Mapping[str, Any] | None = None) -> bytes:
    head = {
        "received_at": taken.received_at.isoformat(),
        "headers": {name: value for name, value in taken.headers.items() if name not in KEPT_SECRET},
        "records": taken.records,
        "correlation": taken.correlation,
        "more": more or {},
    }
    text = orjson.dumps(head) + b"\n" + taken.body
    try:
        return key.name.rpartition(".")[2].encode() + sealing.seal(key.key, text, _context(key.name, taken.provider))
    except SealBrokenError as error:
        raise OperationalError(f"the key of the day cannot be used: {error}") from error


def _name_of(purpose: str, at: datetime) -> str:
    """The name of the key of that day."""
    return f"{purpose}.{at.date().isoformat()}"


def _context(name: str, provider: str) -> bytes:
    return f"rapport ingest|{name}|{provider}".encode()
