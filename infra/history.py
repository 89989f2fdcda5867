"""From stored messages to events, and from events to states."""

from collections.abc import Iterable
from functools import reduce
from typing import TypeVar

import orjson
from eventsourcing.persistence import StoredEvent
from pydantic import ValidationError

from domain import candidate
from domain.candidate import ERASED, Candidate, CandidateEvent, Erased
from domain.errors import ErasedCandidate
from domain.errors import UnreadableCandidate as Unreadable
from domain.event import Event, Recorded
from domain.upcasters import UnknownEventError
from infra import codec
from infra.crypto.sealing import SealBrokenError
from infra.jetstream import Broken, History
from infra.jetstream.stream import StoredMessage

_E = TypeVar("_E", bound=Event)


class Ended(ErasedCandidate):
    """There are no events to be had: the person was erased. `version` and `seq` are those of the last event."""

    def __init__(self, version: int, seq: int) -> None:
        super().__init__(ERASED)
        self.version = version
        self.seq = seq


Closed = Unreadable | Ended
"""Why there are no events to be had."""


def ended(history: History | Broken) -> Ended | None:
    """Whether the person was erased, and with which event."""
    last = history.last if isinstance(history, Broken) else next(reversed(history), None)
    if last is None or last[1].topic != Erased.type:
        return None
    return Ended(last[1].originator_version, last[0].seq)


def decoded(name: str, history: History | Broken, key: bytes | None, of: type[_E]) -> list[Recorded[_E]] | Closed:
    """The events of an aggregate as the ledger holds them, or why one of them cannot be read.

    Who was erased is so from that event on, even while the key is still there, and whatever else is missing.
    """
    if (end := ended(history)) is not None:
        return end
    if isinstance(history, Broken):
        return Unreadable(f"{history.why}; `rapport verify` names what is lost")
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


def readable(history: list[Recorded[_E]] | Closed) -> list[Recorded[_E]]:
    """The events. Raises UnreadableCandidate or ErasedCandidate where there is a reason instead."""
    if isinstance(history, Closed):
        raise history
    return history


def fold(state: Candidate, history: Iterable[Recorded[CandidateEvent]]) -> Candidate:
    """The state after `history`."""
    return reduce(lambda s, r: candidate.evolve(s, r.event, r.version, r.seq, r.recorded_at), history, state)


def state_of(id_: str, history: list[Recorded[CandidateEvent]] | Closed) -> Candidate:
    """The state that a whole history makes; one that cannot be read makes a state that says so."""
    if isinstance(history, Ended):
        return Candidate(id_, history.version, history.seq, erased=True)
    if isinstance(history, Unreadable):
        return Candidate(id_, version=1, unreadable=str(history))
    return fold(Candidate(id_), history)
