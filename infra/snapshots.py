"""States of candidates kept on the server, so that a history scattered over a large ledger need not be read again.

The server loads a block of 8 MB (5 ms) for every stretch of the log in which it looks for an event, so that 500 events
scattered over a million take a second to read, and even a dozen take half of that. A snapshot is one message.

It is a cache, sealed like an event with the candidate's own key, and decides nothing alone: it counts only when the
ledger still is what it was made from (`Tip`) and holds at least as many events of the candidate. Whatever does not fit
is ignored. Newer ones take the place of older ones by the stream's limit of one a subject. That leaves the older one's
sealed bytes in a block file until the server compacts it: overwriting them would rewrite 4 MB for every change, and
without the key they are noise.
"""

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from threading import Event, Lock, Thread
from time import monotonic
from typing import NamedTuple

import orjson
import structlog
from eventsourcing.persistence import OperationalError
from pydantic import ValidationError

from domain import candidate
from domain.candidate import STATE, STATE_VERSION, Candidate
from infra import codec
from infra.crypto import sealing
from infra.crypto.keyring import Keyring
from infra.crypto.sealing import SealBrokenError
from infra.jetstream import Connection
from infra.jetstream.batch import publish_batch, publish_one
from infra.jetstream.stream import Stream, durable_settings, ensure, erase_subject
from infra.jetstream.subjects import subject_of
from infra.jetstream.tip import Tip

LONG = 32
"""From so many events on, a history is worth a snapshot wherever its events lie."""
SCATTERED = 10_000
"""So is one that goes on so many positions behind where it stood, which is about a block of the log."""

QUIET_S = 5.0
LATEST_S = 60.0
MOST_WAITING = 250_000  # events that the waiting states were made of
BATCH = 100
BATCH_BYTES = 2 * 1024 * 1024
RESTING = 9  # times as long as it wrote, so that an import is not held up by much
READ_S = 2.0
WRITE_S = 10.0
STOP_S = 10.0

log = structlog.get_logger()


class Sealed(NamedTuple):
    """A snapshot as stored: the version and ledger seq of the last event in it, and the state that only the
    candidate's key opens."""

    version: int
    seq: int
    state: bytes


@dataclass
class _Waiting:
    state: Candidate
    since: float
    changed: float


class _Taken(NamedTuple):
    states: list[Candidate]
    era: int


class Snapshots:
    """Snapshots of one ledger's candidates, in the stream `<ledger>_SNAPSHOTS`. Safe to share between threads.

    They are written by a thread of their own, in batches, once a candidate has not changed for `quiet_s`. Nobody waits
    for that, and nothing but speed depends on it: what cannot be written, or waits in too long a queue, is left out
    until the candidate changes again or its history had to be read.
    """

    def __init__(self, connection: Connection, ledger: Stream, keyring: Keyring, *, quiet_s: float = QUIET_S) -> None:
        self.stream = Stream(f"{ledger.name}_SNAPSHOTS", f"{ledger.prefix}_snapshots", ledger.replicas)
        self._connection = connection
        self._keyring = keyring
        self._quiet_s = quiet_s
        settings = durable_settings(self.stream, max_msgs_per_subject=1, deny_purge=False, allow_rollup_hdrs=False)
        connection.call(ensure(connection, self.stream, settings))
        self._tip = Tip(connection, ledger, self.stream)
        connection.call(self._tip.covers(1))
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._events = 0
        self._era = 0
        self._erased: set[str] = set()
        self._lock = Lock()
        self._writing = Lock()
        self._closing = Event()
        connection.on_break.add(self._forget)
        self._thread = Thread(target=self._run, name="rapport-snapshots", daemon=True)
        self._thread.start()

    async def fetch(self, name: str) -> Sealed | None:
        """The snapshot of an aggregate, if there is one to be trusted. Runs on the connection's loop."""
        subject = f"$JS.API.DIRECT.GET.{self.stream.name}.{subject_of(self.stream.prefix, name)}"
        try:
            reply = await self._connection.request(subject, timeout_s=READ_S)
            if reply.header is None or reply.header.startswith(b"NATS/1.0 "):
                return None
            head, _, state = reply.body.partition(b"\n")
            place = orjson.loads(head)
            if place["of"] != definition() or not await self._tip.covers(place["seq"]):
                return None
            return Sealed(place["version"], place["seq"], state)
        except (OperationalError, ValueError, KeyError, TypeError) as error:
            log.warning("snapshot ignored", aggregate=name, error=type(error).__name__)
            return None

    def open(self, candidate_id: str, sealed: Sealed, key: bytes) -> Candidate | None:
        """The state in a snapshot; None, and a line in the log, when it does not open."""
        name = codec.aggregate_id(candidate.KIND, candidate_id)
        try:
            plain = sealing.unseal(key, sealed.state, _context(name, sealed.version, sealed.seq))
            return STATE.validate_json(zlib.decompress(plain))
        except (SealBrokenError, zlib.error, ValidationError) as error:
            log.warning("snapshot ignored", aggregate=name, error=type(error).__name__)
            return None

    def offer(self, state: Candidate, since: int) -> None:
        """A state to be kept, made from one that stood at seq `since`. Returns at once; may be ignored."""
        if state.unreadable is not None or self._closing.is_set():
            return
        if state.version >= LONG:
            room = MOST_WAITING
        elif state.seq - since > SCATTERED:
            room = MOST_WAITING // 2  # long histories have room of their own
        else:
            return
        now = monotonic()
        with self._lock:
            earlier = self._waiting.pop(state.id, None)
            self._events -= earlier.state.version if earlier is not None else 0
            if self._events + state.version > room:
                return
            self._waiting[state.id] = _Waiting(state, earlier.since if earlier is not None else now, now)
            self._events += state.version

    def flush(self) -> int:
        """Writes all that waits, and returns when that is on disk; how many there were. Raises OperationalError."""
        written = 0
        while taken := self._take(quiet_s=-1.0):
            written += self._write(*taken)
        return written

    def erase(self, candidate_id: str) -> int:
        """Overwrites a candidate's snapshot on disk and removes it; how many there were. No other is made here."""
        with self._writing:
            self._erased.add(candidate_id)
            subject = subject_of(self.stream.prefix, codec.aggregate_id(candidate.KIND, candidate_id))
            return self._connection.call(erase_subject(self._connection, self.stream, subject))

    def close(self) -> None:
        """Writes what waits, for some seconds at most, and takes no more. Safe to call twice."""
        self._closing.set()
        self._thread.join()
        deadline = monotonic() + STOP_S
        while taken := self._take(quiet_s=-1.0):
            if monotonic() > deadline or not self._wrote(*taken):
                log.warning("snapshots left out", count=len(taken.states) + len(self._waiting))
                return

    def _run(self) -> None:
        rest_s = 0.0
        while not self._closing.wait(rest_s):
            started = monotonic()
            taken = self._take(self._quiet_s)
            if taken is not None and not self._wrote(*taken):
                log.warning("snapshots left out", count=len(taken.states))
            rest_s = RESTING * (monotonic() - started) if taken is not None else min(1.0, self._quiet_s)

    def _take(self, quiet_s: float) -> _Taken | None:
        """Some of those that have waited long enough."""
        now = monotonic()
        with self._lock:
            due = (
                id_
                for id_, waiting in self._waiting.items()
                if now - waiting.changed > quiet_s or now - waiting.since > LATEST_S
            )
            states = [self._waiting.pop(id_).state for id_ in list(islice(due, BATCH))]
            self._events -= sum(state.version for state in states)
            return _Taken(states, self._era) if states else None

    def _wrote(self, states: Sequence[Candidate], era: int) -> bool:
        try:
            self._write(states, era)
        except Exception as error:  # noqa: BLE001 - a cache takes nothing else down with it
            log.warning("snapshots not written", error=type(error).__name__)
            return False
        return True

    def _write(self, states: Sequence[Candidate], era: int) -> int:
        with self._writing:
            names = {state.id: codec.aggregate_id(candidate.KIND, state.id) for state in states}
            keys = self._keyring.existing(names.values())
            messages: list[tuple[str, bytes]] = []
            for state in states:
                name = names[state.id]
                if name in keys and state.id not in self._erased:
                    messages.append((subject_of(self.stream.prefix, name), _body(name, state, keys[name])))
            largest = self._connection.client.max_payload - 1_000
            messages = [message for message in messages if len(message[1]) < largest]
            last_seq = max(state.seq for state in states)
            return self._connection.call(self._publish(messages, last_seq, era), WRITE_S)

    async def _publish(self, messages: Sequence[tuple[str, bytes]], seq: int, era: int) -> int:
        if not await self._tip.advance(seq):
            return 0
        timeout_s = self._connection.request_timeout_s
        for batch in _batches(messages):
            if era != self._era:
                return 0  # the tip is of the ledger as it is now, the states may not be
            if len(batch) == 1:
                await publish_one(self._connection, *batch[0], None, timeout_s=timeout_s)
            else:
                await publish_batch(self._connection, [(*message, None) for message in batch], timeout_s)
        return len(messages)

    def _forget(self) -> None:
        """What was read before the connection broke is not written after it: the server may have lost the end."""
        with self._lock:
            self._era += 1
            self._waiting.clear()
            self._events = 0


@cache
def definition() -> str:
    """What a state is, as this code has it: a snapshot made by another definition is not used."""
    catalogue = sorted((type_, event.v) for type_, event in candidate.EVENTS.items())
    described = orjson.dumps([STATE_VERSION, STATE.json_schema(), catalogue], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(described).hexdigest()[:16]


def _body(name: str, state: Candidate, key: bytes) -> bytes:
    head = orjson.dumps({"version": state.version, "seq": state.seq, "of": definition()})
    plain = zlib.compress(STATE.dump_json(state, exclude_defaults=True), 1)
    return head + b"\n" + sealing.seal(key, plain, _context(name, state.version, state.seq))


def _context(name: str, version: int, seq: int) -> bytes:
    return f"rapport snapshot|{name}|{version}|{seq}|{definition()}".encode()


def _batches(messages: Iterable[tuple[str, bytes]]) -> Iterable[list[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for message in messages:
        if batch and size + len(message[1]) > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message[1])
    if batch:
        yield batch
