"""The write side: interactions in, decisions taken, events in the ledger, an outcome for each.

One path for a single call and for an import: resolve who is meant, decide, make keys and claims, append, and do
again what lost a race. Keys and claims are made before the event that needs them; a crash in between leaves a
claim on an id without events, which the next attempt picks up, so repeating an import ends in the same ledger as
one undisturbed.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from queue import SimpleQueue
from threading import Lock, Thread

from eventsourcing.persistence import DataError, IntegrityError, OperationalError

from domain import candidate, errors
from domain.candidate import Candidate
from domain.identity import Forest
from domain.interaction import Interaction, Reference
from domain.policy import APPEND_ATTEMPTS
from infra import codec, tracing
from infra.crypto.claims import LEASE, SUPPRESSED, Claims
from infra.deciding import Cut, Pending, Round, into_reference
from infra.identifiers import identifiers_of
from infra.ledger import Append, Ledger

ON_STATE = (
    errors.UnresolvedCandidate,
    errors.AmbiguousCandidate,
    errors.NotContactable,
    errors.MergeRefused,
    errors.RequestRefused,
)
"""Refusals that rest on a state; none is final before the state was read from the ledger for it."""

MAX_PAUSE_S = 0.05

TOGETHER = 500
"""Calls that wait are settled together up to about this many interactions."""


@dataclass(frozen=True)
class Accepted:
    """Recorded, durable."""

    candidate_id: str
    seq: int
    version: int


@dataclass(frozen=True)
class Duplicate:
    """The same interaction is in the ledger already; nothing was recorded."""

    candidate_id: str


@dataclass(frozen=True)
class Rejected:
    """Not recorded; `code` is stable, `reason` is for people."""

    code: str
    reason: str


Outcome = Accepted | Duplicate | Rejected


@dataclass(frozen=True)
class _Call:
    """One caller's interactions, and where the caller waits for what becomes of them."""

    interactions: Sequence[Interaction]
    facts: bool
    untimed: Sequence[bool]
    answer: Future[list[Outcome]]


@dataclass
class _Batch:
    """The interactions of one or more calls, whether each is a fact, and what became of them so far."""

    interactions: Sequence[Interaction]
    facts: Sequence[bool]
    untimed: Sequence[bool]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    rechecked: set[int] = field(default_factory=set)


class Recording:
    """Records interactions. Safe to share between threads.

    `forest_of` gives the merges around a candidate, up to date with the ledger.
    """

    def __init__(self, ledger: Ledger, claims: Claims, forest_of: Callable[[str], Forest]) -> None:
        self._ledger = ledger
        self._claims = claims
        self.forest_of = forest_of
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._given_up: set[str] = set()
        self._gate = Lock()
        self._closed = False
        self._thread = Thread(target=self._run, name="rapport-recording", daemon=True)
        self._thread.start()

    def resolve(self, reference: Reference) -> str:
        """The candidate `reference` means.

        Raises UnresolvedCandidate, AmbiguousCandidate or ErasedCandidate.
        """
        identifiers = identifiers_of(reference)
        holders = self._claims.resolve(identifiers)
        named = list(dict.fromkeys([*([reference.id] if reference.id else []), *holders.values()]))
        states = self._ledger.candidates([id_ for id_ in named if id_ != SUPPRESSED])
        known = [id_ for id_ in named if id_ in states and states[id_].version > 0 and not states[id_].erased]
        gone = SUPPRESSED in named or any(state.erased for state in states.values())
        if (reference.id is not None and states[reference.id].erased) or (gone and not known):
            raise errors.ErasedCandidate(candidate.ERASED)
        if not known:
            raise errors.UnresolvedCandidate("no candidate answers to this reference")
        if not set(known) <= self.forest_of(known[0]).members(known[0]):
            raise errors.AmbiguousCandidate("the identifiers point at different candidates; name one")
        return known[0]

    def erased_among(self, identifiers: Iterable[str]) -> set[str]:
        """Those of somebody who was erased. As they are compared; see `infra.identifiers`."""
        holders = self._claims.resolve(identifiers)
        states = self.fresh(set(holders.values()) - {SUPPRESSED})  # another node may have erased them just now
        gone = {SUPPRESSED, *(id_ for id_, state in states.items() if state.erased)}
        return {identifier for identifier, holder in holders.items() if holder in gone}

    def fresh(self, ids: Iterable[str]) -> dict[str, Candidate]:
        """States as the ledger holds them now."""
        return self._ledger.candidates(ids, fresh=True)

    def record(
        self, interactions: Sequence[Interaction], *, facts: bool, untimed: Sequence[bool] | None = None
    ) -> list[Outcome]:
        """Records `interactions` in order and answers for each.

        With `facts`, contacts are reports of what already happened and are never refused for policy; without,
        they are intentions and need standing. A fact against contact that names several people is recorded of each.
        `untimed` tells of each interaction whether its time is only that of its telling: against contact, told once
        more under its id, it is recorded again only where it was taken back in between. Calls made at the same time are
        settled together, one after the other: they share the round trips and the syncs, and a node never loses a race
        to itself.
        """
        call = _Call(interactions, facts, untimed or [False] * len(interactions), Future())
        with self._gate:
            if self._closed:
                raise OperationalError("the node is stopping; send it again")
            self._calls.put(call)
        return call.answer.result()

    def close(self) -> None:
        """Settles what was called before, and takes no more. Safe to call twice."""
        with self._gate:
            self._closed = True
            self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        """Settles calls for as long as there may be any; all that came while the last were settled at once."""
        calls: list[_Call] = []
        while (call := self._calls.get()) is not None:
            calls.append(call)
            if self._calls.empty() or sum(len(c.interactions) for c in calls) >= TOGETHER:
                self._settle_together(calls)
                calls = []
        if calls:
            self._settle_together(calls)

    def _settle_together(self, calls: Sequence[_Call]) -> None:
        batch = _Batch(
            [i for c in calls for i in c.interactions],
            [c.facts for c in calls for _ in c.interactions],
            [untimed for c in calls for untimed in c.untimed],
        )
        try:
            with tracing.work("record", (i.correlation for i in batch.interactions)) as span:
                settled = self._settle(batch)
                span.note(interactions=len(settled))
                span.tally(type(outcome).__name__.lower() for outcome in settled)
            outcomes = iter(settled)
        except BaseException as failure:  # noqa: BLE001 - it belongs to each of the callers, who raise it
            if len(calls) > 1 and not isinstance(failure, OperationalError):
                for call in calls:  # one of them brought it about: what is recorded by now is known again
                    self._settle_together([call])
                return
            for call in calls:
                call.answer.set_exception(failure)
        else:
            for call in calls:
                call.answer.set_result(list(islice(outcomes, len(call.interactions))))

    def _settle(self, batch: _Batch) -> list[Outcome]:
        pending, losses = list(range(len(batch.interactions))), Counter[int]()
        while pending:
            rest, lost = self._round(batch, pending)
            losses.update(set(lost))
            for place in lost:  # of several people that it names, one was written and another is to be decided again
                batch.outcomes.pop(place, None)
            for place in [p for p in set(lost) if losses[p] == APPEND_ATTEMPTS]:
                busy = errors.ConcurrentChange("others kept changing this candidate; send it again")
                batch.outcomes[place] = Rejected(busy.code, str(busy))
            pending = sorted(p for p in {*rest, *lost} if p not in batch.outcomes)
            if lost:
                time.sleep(random.uniform(0, MAX_PAUSE_S))  # noqa: S311 - spreads writers, no secret
        return [batch.outcomes[place] for place in range(len(batch.interactions))]

    def _round(self, batch: _Batch, pending: list[int]) -> tuple[list[int], list[int]]:
        """Settles what can be settled; the places not reached, and those that lost a race."""
        round_ = self._open([batch.interactions[p] for p in pending])
        rest: list[int] = []
        for n, place in enumerate(pending):
            try:
                duplicate = round_.decide(
                    batch.interactions[place], place, facts=batch.facts[place], untimed=batch.untimed[place]
                )
            except Cut:
                rest = pending[n:]
                break
            except ON_STATE as refusal:
                if place not in batch.rechecked:
                    batch.rechecked.add(place)
                    self._ledger.forget(round_.touched)
                    rest = pending[n:]
                    break
                batch.outcomes[place] = Rejected(refusal.code, str(refusal))
            except errors.Refused as refusal:
                batch.outcomes[place] = Rejected(refusal.code, str(refusal))
            else:
                if duplicate is not None:
                    batch.outcomes[place] = Duplicate(duplicate)
        claiming = time.monotonic()
        lost = self._claim(round_.pending)
        if time.monotonic() - claiming > LEASE.total_seconds() / 2:
            # Others may have taken the claims for dead by now; nothing was appended, so it is decided again.
            return rest, [*lost, *(place for p in round_.pending.values() for place in p.places)]
        return rest, [*lost, *self._append(round_.pending, batch.outcomes)]

    def _open(self, interactions: Iterable[Interaction]) -> Round:
        """A round with everything its decisions need, fetched in bulk."""
        identifiers: set[str] = set()
        ids: set[str] = set()
        for reference in (r for i in interactions for r in _references(i)):
            ids.update([reference.id] if reference.id else [])
            try:
                identifiers.update(identifiers_of(reference))
            except errors.InvalidInteraction:
                continue  # refused with its reason when its turn comes
        holders = self._claims.resolve(identifiers)
        states = self._ledger.candidates(ids | set(holders.values()) - {SUPPRESSED})
        # Not of the erased: what was theirs is suppressed or, once that is lifted, somebody else's.
        lasting = {id_ for id_, state in states.items() if state.version > 0 and not state.erased}
        self._claims.remember({i: id_ for i, id_ in holders.items() if id_ in lasting})
        return Round(holders, states, self)

    def _claim(self, pending: dict[str, Pending]) -> list[int]:
        """Makes the round's claims; takes out the candidates that lost one, and returns their places."""
        wanted = {identifier: id_ for p in pending.values() for identifier, id_ in p.claims.items()}
        held = self._claims.claim(wanted)
        taken = {i: holder for i, holder in held.items() if holder != wanted[i]}
        empty = {id_ for id_, state in self.fresh(set(taken.values()) - {SUPPRESSED}).items() if state.version == 0}
        losers = set()
        for identifier, holder in taken.items():
            ours = holder in self._given_up
            if holder not in empty or not self._claims.take_over(identifier, holder, wanted[identifier], at_once=ours):
                losers.add(wanted[identifier])
        # A new id that lost is never used again, so what it claimed may be taken from it without waiting.
        self._given_up |= {id_ for id_ in losers if pending[id_].base == 0}
        return [place for id_ in losers for place in pending.pop(id_).places]

    def _append(self, pending: dict[str, Pending], outcomes: dict[int, Outcome]) -> list[int]:
        """Appends what was decided; returns the places to decide again."""
        appends = [Append(codec.aggregate_id(candidate.KIND, id_), p.base, p.events) for id_, p in pending.items()]
        again = []
        for (id_, p), result in zip(pending.items(), self._ledger.append(appends), strict=True):
            match result:
                case IntegrityError():
                    again.extend(p.places)
                case DataError():
                    outcomes.update({place: Rejected("too-large", str(result)) for place in p.places})
                case _:
                    self._claims.remember(p.claims)
                    for n, (place, seq) in enumerate(zip(p.places, result, strict=True), start=1):
                        outcomes[place] = Accepted(id_, seq, p.base + n)
        return again


def _references(interaction: Interaction) -> list[Reference]:
    try:
        into = into_reference(interaction)
    except errors.InvalidInteraction:
        into = None
    return [interaction.candidate, *([into] if into is not None else [])]
