"""The ledger as the write side and the trail see it: aggregates in, decided events out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import TypeVar

from eventsourcing.persistence import DataError, IntegrityError, OperationalError

from domain import candidate, pool
from domain.candidate import Candidate, CandidateEvent
from domain.consent import STATEMENT_TYPES
from domain.event import Event, Recorded
from domain.pool import Pool, PoolEvent
from infra import codec, tracing
from infra.advancing import Advancing
from infra.at_hand import AtHand
from infra.crypto import sealing
from infra.crypto.keyring import Keyring
from infra.history import Closed, Ended, decoded, ended, readable, state_of
from infra.jetstream import Broken, History, JetStreamApplicationRecorder
from infra.jetstream.server_clock import ServerClock
from infra.snapshots import Snapshots
from infra.states import States

CLOCKS_APART = timedelta(minutes=5)
MOST_HISTORIES, MOST_HISTORIES_BYTES = 5_000, 80_000_000
EVENT_BYTES = 700
"""What an event takes in memory beside its stored bytes, which are there twice: as the message and in the event."""

_E = TypeVar("_E", bound=Event)


@dataclass(frozen=True)
class Append:
    """Events of one aggregate, to follow its version `base`."""

    name: str
    base: int
    events: Sequence[Event]


class _Histories(AtHand[History]):
    def size_of(self, value: History) -> int:
        """In bytes of memory, about."""
        return sum(EVENT_BYTES + 2 * len(message.body) for message, _ in value)


class Ledger:
    """Reads aggregates and appends to them. Safe to share between threads.

    States of candidates are kept in memory, and with `snapshots` on the server; so are, sealed as the ledger has them,
    the histories that were asked for. None is believed: what the ledger has beyond them is read, and where they do not
    fit, the whole history is.
    """

    def __init__(
        self,
        recorder: JetStreamApplicationRecorder,
        keyring: Keyring,
        snapshots: Snapshots | None = None,
        states: States | None = None,
    ) -> None:
        self._recorder = recorder
        self._keyring = keyring
        self._snapshots = snapshots
        self._advancing = Advancing(recorder.connection, recorder.stream, keyring, snapshots)
        self.failure: OperationalError | None = None
        """Why the last append was not taken; None when it was."""
        self._states = States() if states is None else states
        # A server that comes back may have lost the end of the ledger, and with it what a state was made of.
        self._histories = _Histories(MOST_HISTORIES, MOST_HISTORIES_BYTES)
        self._clock = ServerClock(recorder.connection, recorder.stream)
        recorder.connection.on_break.add(self._states.clear)
        recorder.connection.on_break.add(self._histories.clear)

    def last_seq(self) -> int:
        """The ledger's last position; 0 when it is empty."""
        return self._recorder.max_notification_id() or 0

    def histories(
        self, candidate_ids: Sequence[str], places: Mapping[str, Sequence[int]] | None = None
    ) -> dict[str, list[Recorded[CandidateEvent]]]:
        """Everything recorded on each candidate, decrypted, in order; empty where nothing was. The erased are left out.

        `places` are the seqs at which events of them are thought to lie, which saves the server looking for them.
        Raises UnreadableCandidate when an event of one of them cannot be read.
        """
        names = [codec.aggregate_id(candidate.KIND, id_) for id_ in candidate_ids]
        at = {codec.aggregate_id(candidate.KIND, id_): seqs for id_, seqs in (places or {}).items()}
        found = zip(candidate_ids, self._opened(self._stored(names, at), CandidateEvent), strict=True)
        return {id_: readable(history) for id_, history in found if not isinstance(history, Ended)}

    def candidates(self, ids: Iterable[str], *, fresh: bool = False) -> dict[str, Candidate]:
        """The state of each candidate, version 0 for unknown ones.

        States come from memory unless `fresh`: an append on one that is out of date ends in a conflict, never in
        a wrong event; whoever only reads asks for fresh ones, which hold all that the ledger held when asked.
        """
        wanted = set(ids)
        states = {} if fresh else self._states.current(wanted)
        if missing := sorted(wanted - states.keys()):
            states |= self._current(missing)
        return states

    def forget(self, ids: Iterable[str]) -> None:
        """The next look at these candidates is at the ledger."""
        self._states.doubt(ids)

    def drop(self, candidate_id: str) -> None:
        """Has nothing of an erased candidate at hand any more, nor ever again. Bodies that are purged make the number
        of events no sign of what there is, by which all that is at hand is judged."""
        self._states.bar(candidate_id)
        self._histories.bar(codec.aggregate_id(candidate.KIND, candidate_id))

    def pool(self, pool_id: str) -> Pool:
        """The state of one pool, version 0 when there is none of this id."""
        (history,) = self._read([codec.aggregate_id(pool.KIND, pool_id)], PoolEvent)
        return reduce(lambda state, r: pool.evolve(state, r.event, r.version), readable(history), Pool(pool_id))

    def append(
        self, appends: Sequence[Append], *, last: bool = False
    ) -> list[Sequence[int] | IntegrityError | DataError]:
        """Appends each aggregate's events, all or none of one aggregate; the ledger positions, or why not.

        IntegrityError means that the aggregate was changed by others meanwhile, erased perhaps; DataError that it
        cannot be taken. With `last` an aggregate without a key takes events all the same, which nobody can open.
        """
        era = self._states.era
        keys = self._keys(appends)
        if last:
            keys = {a.name: sealing.new_key() for a in appends} | keys
        possible = [a for a in appends if a.name in keys]
        groups = [
            [codec.encode(a.name, a.base + n, event, keys[a.name]) for n, event in enumerate(a.events, start=1)]
            for a in possible
        ]
        try:
            correlations = (event.correlation for a in possible for event in a.events)
            with tracing.work("append", correlations, events=sum(map(len, groups))):
                taken = dict(zip([a.name for a in possible], self._recorder.insert_many(groups), strict=True))
        except OperationalError as error:
            self.failure = error
            raise
        self.failure = None
        gone = IntegrityError("its key is not there any more")
        outcomes = [taken.get(a.name, gone) for a in appends]
        for append, outcome in zip(appends, outcomes, strict=True):
            self._follow(append, outcome, era)
        return outcomes

    def versions(self, candidate_id: str) -> int:
        """The version of a candidate's last event, whether or not the others can be read, or are there at all."""
        last = self._recorder.select_events(codec.aggregate_id(candidate.KIND, candidate_id), desc=True, limit=1)
        return last[0].originator_version if last else 0

    def _keys(self, appends: Sequence[Append]) -> dict[str, bytes]:
        """The key of each aggregate with a whole one; made for new ones only, so that no erased one gets a second."""
        keys = self._keyring.make(a.name for a in appends if a.base == 0)
        keys |= self._keyring.existing(a.name for a in appends if a.base > 0)
        return {name: key for name, key in keys.items() if not isinstance(key, sealing.DamagedKey)}

    def _follow(self, append: Append, outcome: Sequence[int] | IntegrityError | DataError, era: int) -> None:
        """Keeps the state at hand in step with what was just appended, or notes that it is not."""
        kind, id_ = codec.split_id(append.name)
        if kind != candidate.KIND:
            return
        base = self._states.held([id_]).get(id_, Candidate(id_))
        now = self._now()
        if (
            isinstance(outcome, IntegrityError | DataError)
            or base.version != append.base
            or now is None
            or not _settled(append.events, now)
        ):
            self._states.doubt([id_])
            return
        state = base
        for n, (event, seq) in enumerate(zip(append.events, outcome, strict=True), start=1):
            assert isinstance(event, CandidateEvent)  # noqa: S101 - the kind was checked above
            state = candidate.evolve(state, event, append.base + n, seq, now)
        self._keep(state, base.seq or outcome[0] - 1, era)

    def _now(self) -> datetime | None:
        """The time by the clock that says when events are recorded; None where it cannot be asked."""
        try:
            return self._clock.now()
        except OperationalError:
            return None

    def _keep(self, state: Candidate, since: int, era: int) -> None:
        """Has a state at hand that went on from where it stood at seq `since`."""
        self._states.keep(state, era)
        if self._snapshots is not None and state.seq > since and era == self._states.era:
            self._snapshots.offer(state, since)

    def _current(self, ids: Sequence[str]) -> dict[str, Candidate]:
        """The states that the ledger's leader holds now, from what is at hand or kept as far as that goes."""
        era = self._states.era
        found: dict[str, Candidate] = {}
        for id_, (state, since) in self._advancing.advance(ids, self._states.held(ids)).items():
            found[id_] = state
            self._keep(state, since, era)
        missing = [id_ for id_ in ids if id_ not in found]
        names = [codec.aggregate_id(candidate.KIND, id_) for id_ in missing]
        for id_, history in zip(missing, self._read(names, CandidateEvent), strict=True):
            found[id_] = state_of(id_, history)
            self._states.drop(id_)
            self._keep(found[id_], history[0].seq - 1 if isinstance(history, list) and history else 0, era)
        return found

    def _read(self, names: Sequence[str], of: type[_E]) -> list[list[Recorded[_E]] | Closed]:
        """The history of each aggregate, or why it cannot be read; one that cannot leaves the others alone."""
        histories = self._recorder.read_many(names) if names else []
        return self._opened(dict(zip(names, histories, strict=True)), of)

    def _stored(self, names: Sequence[str], places: Mapping[str, Sequence[int]]) -> dict[str, History | Broken]:
        """What the ledger's leader holds of each aggregate now, from what is at hand as far as that goes."""
        era = self._histories.era
        found: dict[str, History | Broken] = dict(self._recorder.go_on(self._histories.held(names)))
        found |= self._recorder.read_at({n: places[n] for n in names if n in places and n not in found})
        if missing := [name for name in names if name not in found]:
            found |= zip(missing, self._recorder.read_many(missing), strict=True)
        for name in names:
            self._histories.drop(name)
        kept = {name: h for name, h in found.items() if not isinstance(h, Broken) and ended(h) is None}
        self._histories.keep_all(kept, era)
        return {name: found[name] for name in names}

    def _opened(self, histories: Mapping[str, History | Broken], of: type[_E]) -> list[list[Recorded[_E]] | Closed]:
        wanted = {name for name, found in histories.items() if found and ended(found) is None}
        keys = self._keyring.existing(wanted)
        keys |= self._keyring.lost(wanted - keys.keys())
        return [decoded(name, history, keys.get(name), of) for name, history in histories.items()]


def _settled(events: Iterable[Event], now: datetime) -> bool:
    """Whether the state after `events` is the same whenever the ledger took them: a statement holds from that moment
    if its own time lies ahead, and only the ledger knows that moment."""
    return not any(event.type in STATEMENT_TYPES and event.occurred_at > now - CLOCKS_APART for event in events)
