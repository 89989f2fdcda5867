"""The ledger as the write side and the trail see it: aggregates in, decided events out."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from threading import Lock
from typing import TypeVar

import orjson
from eventsourcing.persistence import DataError, IntegrityError, OperationalError, StoredEvent
from pydantic import ValidationError

from domain import candidate, pool
from domain.candidate import Candidate, CandidateEvent
from domain.errors import UnreadableCandidate as Unreadable
from domain.event import Event, Recorded, utc_now
from domain.pool import Pool, PoolEvent
from domain.upcasters import UnknownEventError
from infra import codec
from infra.crypto.keyring import Keyring
from infra.crypto.sealing import SealBrokenError
from infra.jetstream import JetStreamApplicationRecorder
from infra.jetstream.stream import StoredMessage

CACHED_CANDIDATES = 20_000

_E = TypeVar("_E", bound=Event)
Stored = list[tuple[StoredMessage, StoredEvent]]


@dataclass(frozen=True)
class Append:
    """Events of one aggregate, to follow its version `base`."""

    name: str
    base: int
    events: Sequence[Event]


class Ledger:
    """Reads aggregates and appends to them. Safe to share between threads."""

    def __init__(self, recorder: JetStreamApplicationRecorder, keyring: Keyring) -> None:
        self._recorder = recorder
        self._keyring = keyring
        self.failure: OperationalError | None = None
        """Why the last append was not taken; None when it was."""
        self._states: OrderedDict[str, Candidate] = OrderedDict()
        self._lock = Lock()

    def last_seq(self) -> int:
        """The ledger's last position; 0 when it is empty."""
        return self._recorder.max_notification_id() or 0

    def histories(self, candidate_ids: Sequence[str]) -> list[list[Recorded[CandidateEvent]]]:
        """Everything recorded on each candidate, decrypted, in order; empty where nothing was.

        Raises UnreadableCandidate when an event of one of them cannot be read.
        """
        names = [codec.aggregate_id(candidate.KIND, id_) for id_ in candidate_ids]
        return [_readable(history) for history in self._read(names, CandidateEvent)]

    def candidates(self, ids: Iterable[str], *, fresh: bool = False) -> dict[str, Candidate]:
        """The state of each candidate, version 0 for unknown ones.

        States come from memory unless `fresh`: an append on one that is out of date ends in a conflict, never in
        a wrong event; whoever only reads asks for fresh ones.
        """
        wanted = set(ids)
        with self._lock:
            states = {} if fresh else {id_: self._states[id_] for id_ in wanted & self._states.keys()}
        missing = sorted(wanted - states.keys())
        names = [codec.aggregate_id(candidate.KIND, id_) for id_ in missing]
        for id_, history in zip(missing, self._read(names, CandidateEvent), strict=True):
            states[id_] = _state(id_, history)
            self._remember(states[id_])
        return states

    def forget(self, ids: Iterable[str]) -> None:
        """The next look at these candidates is at the ledger."""
        with self._lock:
            for id_ in ids:
                self._states.pop(id_, None)

    def pool(self, pool_id: str) -> Pool:
        """The state of one pool, version 0 when there is none of this id."""
        (history,) = self._read([codec.aggregate_id(pool.KIND, pool_id)], PoolEvent)
        return reduce(lambda state, r: pool.evolve(state, r.event, r.version), _readable(history), Pool(pool_id))

    def append(self, appends: Sequence[Append]) -> list[Sequence[int] | IntegrityError | DataError]:
        """Appends each aggregate's events, all or none of one aggregate; the ledger positions, or why not.

        IntegrityError means that the aggregate was changed by others meanwhile; DataError that it cannot be taken.
        Raises KeyDestroyedError when one of them was erased.
        """
        keys = self._keys(appends)
        groups = [
            [codec.encode(a.name, a.base + n, event, keys[a.name]) for n, event in enumerate(a.events, start=1)]
            for a in appends
        ]
        try:
            outcomes = list(self._recorder.insert_many(groups))
        except OperationalError as error:
            self.failure = error
            raise
        self.failure = None
        for append, outcome in zip(appends, outcomes, strict=True):
            self._follow(append, outcome)
        return outcomes

    def _keys(self, appends: Sequence[Append]) -> dict[str, bytes]:
        """The key of each aggregate; made for new ones only, so that no erased one gets a second."""
        keys = self._keyring.make(a.name for a in appends if a.base == 0)
        keys |= self._keyring.existing(a.name for a in appends if a.base > 0)
        if gone := {a.name for a in appends} - keys.keys():
            raise codec.KeyDestroyedError(f"{len(gone)} of these candidates were erased")
        return keys

    def _follow(self, append: Append, outcome: Sequence[int] | IntegrityError | DataError) -> None:
        """Keeps the state at hand in step with what was just appended, or drops it."""
        kind, id_ = codec.split_id(append.name)
        if kind != candidate.KIND:
            return
        with self._lock:
            state = self._states.pop(id_, None)
        known = state is not None and state.version == append.base
        if isinstance(outcome, IntegrityError | DataError) or not (known or append.base == 0):
            return
        state = state if state is not None and known else Candidate(id_)
        for n, (event, seq) in enumerate(zip(append.events, outcome, strict=True), start=1):
            assert isinstance(event, CandidateEvent)  # noqa: S101 - the kind was checked above
            state = candidate.evolve(state, event, append.base + n, seq, utc_now())
        self._remember(state)

    def _remember(self, state: Candidate) -> None:
        """Keeps a state at hand; one without events not, for somebody else may be about to record the first."""
        if state.version == 0:
            return
        with self._lock:
            self._states[state.id] = state
            self._states.move_to_end(state.id)
            while len(self._states) > CACHED_CANDIDATES:
                self._states.popitem(last=False)

    def _read(self, names: Sequence[str], of: type[_E]) -> list[list[Recorded[_E]] | Unreadable]:
        """The history of each aggregate, or why it cannot be read; one that cannot leaves the others alone."""
        histories = self._recorder.read_many(names) if names else []
        keys = self._keyring.existing(name for name, history in zip(names, histories, strict=True) if history)
        return [_decoded(name, history, keys.get(name), of) for name, history in zip(names, histories, strict=True)]


def _decoded(name: str, history: Stored, key: bytes | None, of: type[_E]) -> list[Recorded[_E]] | Unreadable:
    try:
        return [_recorded(name, message, event, key, of) for message, event in history]
    except (codec.KeyDestroyedError, SealBrokenError, UnknownEventError, ValidationError) as error:
        reason = "its events do not fit the catalogue" if isinstance(error, ValidationError) else str(error)
        return Unreadable(f"the ledger holds an event of this candidate that cannot be read: {reason}")


def _recorded(name: str, message: StoredMessage, stored: StoredEvent, key: bytes | None, of: type[_E]) -> Recorded[_E]:
    version = stored.originator_version
    event = codec.decode(name, version, stored.topic, orjson.loads(stored.state), key)
    if not isinstance(event, of):
        raise UnknownEventError(f"{stored.topic} is not an event of this aggregate")
    return Recorded(codec.split_id(name)[1], version, message.seq, message.recorded_at, event)


def _readable(history: list[Recorded[_E]] | Unreadable) -> list[Recorded[_E]]:
    if isinstance(history, Unreadable):
        raise history
    return history


def fold(state: Candidate, history: Iterable[Recorded[CandidateEvent]]) -> Candidate:
    """The state after `history`."""
    return reduce(lambda s, r: candidate.evolve(s, r.event, r.version, r.seq, r.recorded_at), history, state)


def _state(id_: str, history: list[Recorded[CandidateEvent]] | Unreadable) -> Candidate:
    if isinstance(history, Unreadable):
        return Candidate(id_, version=1, unreadable=str(history))
    return fold(Candidate(id_), history)
