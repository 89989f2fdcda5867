"""The write side: interactions in, decisions taken, events in the ledger, an outcome for each.

One path for a single call and for an import: resolve who is meant, decide, make keys and claims, append, and do
again what lost a race. Keys and claims are made before the event that needs them; a crash in between leaves a
claim on an id that the next attempt picks up, so repeating an import ends in the same ledger as one undisturbed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from eventsourcing.persistence import DataError, IntegrityError
from pydantic import ValidationError

from domain import candidate, errors
from domain.candidate import INTENTIONS, Candidate, CandidateEvent
from domain.consent import Standing, standing
from domain.event import utc_now
from domain.identity import Forest
from domain.interaction import Interaction, Reference, event_of
from domain.policy import APPEND_ATTEMPTS
from infra import codec
from infra.crypto.claims import Claims
from infra.identifiers import identifiers_of
from infra.ledger import Append, Ledger

PROVISIONAL_SEQ = 2**62
"""Positions of events that are decided but not appended yet sort after every real one."""


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


@dataclass
class _Round:
    """One attempt at a set of interactions: who is who, and what was decided so far."""

    holders: dict[str, str]
    states: dict[str, Candidate]
    events: dict[str, list[CandidateEvent]] = field(default_factory=dict)
    places: dict[str, list[int]] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)


class Recording:
    """Records interactions. Safe to share between threads.

    `forest_of` gives the merges around a candidate, up to date with the ledger.
    """

    def __init__(self, ledger: Ledger, claims: Claims, forest_of: Callable[[str], Forest]) -> None:
        self._ledger = ledger
        self._claims = claims
        self._forest_of = forest_of

    def resolve(self, reference: Reference) -> str:
        """The candidate `reference` means.

        Raises UnresolvedCandidate or AmbiguousCandidate.
        """
        identifiers = identifiers_of(reference)
        found = self._found(reference, identifiers, self._claims.resolve(identifiers))
        if found is None or self._ledger.candidates([found])[found].version == 0:
            raise errors.UnresolvedCandidate("no candidate answers to this reference")
        return found

    def record(self, interactions: Sequence[Interaction], *, facts: bool) -> list[Outcome]:
        """Records `interactions` in order and answers for each.

        With `facts`, contacts are reports of what already happened and are never refused for policy; without,
        they are intentions and need standing.
        """
        outcomes: dict[int, Outcome] = {}
        pending = list(range(len(interactions)))
        for _ in range(APPEND_ATTEMPTS):
            pending = self._attempt(interactions, pending, outcomes, facts=facts)
            if not pending:
                break
        busy = errors.ConcurrentChange("others kept changing this candidate; send it again")
        outcomes.update({i: Rejected(busy.code, str(busy)) for i in pending})
        return [outcomes[i] for i in range(len(interactions))]

    def _attempt(
        self, interactions: Sequence[Interaction], pending: list[int], outcomes: dict[int, Outcome], *, facts: bool
    ) -> list[int]:
        """Settles what can be settled; returns the places that lost a race."""
        round_ = self._open_round([interactions[i] for i in pending])
        for i in pending:
            try:
                settled = self._decide(interactions[i], i, round_, facts=facts)
            except errors.Refused as refusal:
                settled = Rejected(refusal.code, str(refusal))
            if settled is not None:
                outcomes[i] = settled
        lost = self._claim(round_)
        return sorted([*lost, *self._append(round_, outcomes)])

    def _open_round(self, interactions: Iterable[Interaction]) -> _Round:
        """Everything the decisions need, fetched in bulk."""
        identifiers: set[str] = set()
        ids: set[str] = set()
        for interaction in interactions:
            for reference in _references(interaction):
                ids.update([reference.id] if reference.id else [])
                try:
                    identifiers.update(identifiers_of(reference))
                except errors.InvalidInteraction:
                    continue  # refused with its reason when its turn comes
        holders = self._claims.resolve(identifiers)
        return _Round(holders, self._ledger.candidates(ids | set(holders.values())))

    def _decide(self, interaction: Interaction, place: int, round_: _Round, *, facts: bool) -> Outcome | None:
        """Decides one interaction on top of the round; None when it waits for the append."""
        identifiers = identifiers_of(interaction.candidate)
        id_ = self._found(interaction.candidate, identifiers, round_.holders)
        state = round_.states.get(id_) if id_ is not None else None
        if interaction.candidate.id is not None and (state is None or state.version == 0):
            raise errors.UnresolvedCandidate("candidate.id: there is no candidate of this id")
        if id_ is None:
            if interaction.type != "sourced" and interaction.source is None:
                raise errors.UnresolvedCandidate(
                    "candidate: nobody answers to this reference; "
                    "send `sourced` first, or name a `source` to record it all the same"
                )
            id_ = uuid4().hex
        state = state or Candidate(id_)
        survivor = self._survivor(interaction, state, round_)
        event = event_of(
            interaction,
            identifiers=tuple(i for i in identifiers if i not in state.identifiers),
            into=survivor.id if survivor is not None else None,
        )
        events = candidate.decide(
            state, event, now=utc_now(), survivor=survivor, standing=self._standing(state, event, facts=facts)
        )
        if not events:
            return Duplicate(id_)
        for identifier in identifiers:
            if round_.holders.setdefault(identifier, id_) == id_ and identifier not in state.identifiers:
                round_.claims[identifier] = id_
        for decided in events:
            state = candidate.evolve(state, decided, state.version + 1, PROVISIONAL_SEQ + place)
        round_.states[id_] = state
        round_.events.setdefault(id_, []).extend(events)
        round_.places.setdefault(id_, []).append(place)
        return None

    def _found(self, reference: Reference, identifiers: Iterable[str], holders: dict[str, str]) -> str | None:
        """The candidate that `reference` means among the known, by its strongest identifier."""
        named = [reference.id, *(holders.get(i) for i in identifiers)]
        found = list(dict.fromkeys(n for n in named if n is not None))
        if len(found) > 1 and not set(found) <= self._forest_of(found[0]).members(found[0]):
            raise errors.AmbiguousCandidate(
                "candidate: the identifiers point at different candidates; merge them first, or name one"
            )
        return found[0] if found else None

    def _survivor(self, interaction: Interaction, state: Candidate, round_: _Round) -> Candidate | None:
        if interaction.type not in ("merged", "unmerged"):
            return None
        reference = _into(interaction)
        if reference is None:
            if interaction.type == "merged":
                raise errors.InvalidInteraction("data.into: name the candidate to merge into")
            return Candidate(state.merged_into or state.id)
        id_ = self._found(reference, identifiers_of(reference), round_.holders)
        if id_ is None:
            raise errors.MergeRefused("data.into: the candidate to merge into is not known")
        return round_.states.get(id_) or Candidate(id_)

    def _standing(self, state: Candidate, event: CandidateEvent, *, facts: bool) -> Standing | None:
        if facts or not isinstance(event, INTENTIONS):
            return None
        forest = self._forest_of(state.id)
        others = self._ledger.candidates(forest.members(state.id) - {state.id}, fresh=True)
        statements = [s for member in (state, *others.values()) for s in member.statements]
        return standing(statements, event.channel, event.purpose, event.occurred_at, forest.joined)

    def _claim(self, round_: _Round) -> list[int]:
        """Makes the round's claims; takes out the candidates that lost one, and returns their places."""
        held = self._claims.claim(round_.claims)
        losers = {id_ for identifier, id_ in round_.claims.items() if held[identifier] != id_}
        for id_ in losers:
            round_.events.pop(id_, None)
        return [place for id_ in losers for place in round_.places.pop(id_, [])]

    def _append(self, round_: _Round, outcomes: dict[int, Outcome]) -> list[int]:
        """Appends what was decided; returns the places to decide again."""
        ids = list(round_.events)
        appends = [
            Append(
                codec.aggregate_id(candidate.KIND, id_),
                round_.states[id_].version - len(round_.events[id_]),
                round_.events[id_],
            )
            for id_ in ids
        ]
        again = []
        for id_, append, result in zip(ids, appends, self._ledger.append(appends), strict=True):
            places = round_.places[id_]
            match result:
                case IntegrityError():
                    again.extend(places)
                case DataError():
                    outcomes.update({p: Rejected("too-large", str(result)) for p in places})
                case _:
                    for n, (place, seq) in enumerate(zip(places, result, strict=True), start=1):
                        outcomes[place] = Accepted(id_, seq, append.base + n)
        return again


def _references(interaction: Interaction) -> list[Reference]:
    try:
        into = _into(interaction)
    except errors.InvalidInteraction:
        into = None
    return [interaction.candidate, *([into] if into is not None else [])]


def _into(interaction: Interaction) -> Reference | None:
    """The reference in `data.into` of a merge or unmerge. Raises InvalidInteraction."""
    value: Any = interaction.data.get("into") if interaction.type in ("merged", "unmerged") else None
    if value is None:
        return None
    try:
        return Reference.model_validate({"id": value} if isinstance(value, str) else value)
    except ValidationError:
        raise errors.InvalidInteraction("data.into: not a candidate reference") from None
