"""One round of decisions: interactions taken in order, each on top of what those before it decided.

A round ends where an interaction needs to see something that is decided but not in the ledger yet (`Cut`): what was
decided is appended first. So the outcome of a sequence does not depend on how it was cut into calls.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

from pydantic import ValidationError

from domain import candidate, errors
from domain.candidate import ERASED, INTENTIONS, Candidate, CandidateEvent, InteractionKey, Merged, Unmerged
from domain.consent import TAKEN_BACK, Standing, now_of, standing
from domain.event import utc_now
from domain.identity import Forest
from domain.interaction import Interaction, Reference, event_of
from infra.crypto.claims import SUPPRESSED
from infra.identifiers import identifiers_of

PROVISIONAL_SEQ = 2**62
"""Positions of events that are decided but not appended yet sort after every real one."""


AMBIGUOUS = "candidate: the identifiers point at different candidates; merge them first, or name one"


class Cut(Exception):
    """The interaction rests on something that this round has decided but not appended."""


class People(Protocol):
    """What a round asks about candidates, beyond what it was opened with."""

    def fresh(self, ids: Iterable[str]) -> dict[str, Candidate]:
        """States as the ledger holds them now."""

    def forest_of(self, candidate_id: str) -> Forest:
        """The merges around a candidate, up to date with the ledger."""


@dataclass
class Pending:
    """What was decided for one candidate and waits to be appended after version `base`."""

    base: int
    events: list[CandidateEvent] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    claims: dict[str, str] = field(default_factory=dict)


class Round:
    """Decisions on top of each other. `pending` is what to append, by candidate."""

    def __init__(self, holders: Mapping[str, str], states: Mapping[str, Candidate], people: People) -> None:
        self._holders = dict(holders)
        self._states = dict(states)
        self._people = people
        self.pending: dict[str, Pending] = {}
        self.touched: set[str] = set()

    def decide(self, interaction: Interaction, place: int, *, facts: bool, untimed: bool = False) -> str | None:
        """Decides one interaction; its candidate when it is a duplicate, None when it now waits in `pending`.

        An intended contact needs standing unless it is told as one of the `facts`. What a person said against contact,
        told as a fact whose identifiers lead to several people, is recorded of each of them: nobody can tell who it
        was, and it must not be lost. `untimed` is as for `Recording.record`.

        Raises Cut, or Refused. `touched` then names the candidates whose states led to that.
        """
        self.touched = set()
        identifiers = identifiers_of(interaction.candidate)
        meant: list[str | None] = [*self._meant(interaction.candidate, identifiers)] or [None]
        if len(meant) > 1 and not (facts and interaction.type in TAKEN_BACK):
            raise errors.AmbiguousCandidate(AMBIGUOUS)
        # One that nobody holds yet becomes the first one's.
        of = [(id_, identifiers if n == 0 else ()) for n, id_ in enumerate(meant)]
        decided = [self._decided(id_, interaction, own, facts=facts, untimed=untimed) for id_, own in of]
        for (state, events), (_, own) in zip(decided, of, strict=True):
            if events:
                self._take(state, events, place, own)
        return None if any(events for _, events in decided) else decided[0][0].id

    def _decided(
        self,
        id_: str | None,
        interaction: Interaction,
        identifiers: Iterable[str],
        *,
        facts: bool,
        untimed: bool,
    ) -> tuple[Candidate, tuple[CandidateEvent, ...]]:
        """The state of the candidate, and what is to be recorded of them; nothing when it is known."""
        state = self._state(id_, interaction)
        event = self._event(interaction, state, identifiers)
        survivor = self._survivor(event)
        if untimed and event.type in TAKEN_BACK and self._still_holds(state, event):
            return state, ()
        if (key := candidate.interaction_key(event)) in state.interactions:
            if self._is_pending(state.id, key):
                raise Cut
            return state, ()
        return state, candidate.decide(
            state,
            event,
            now=utc_now(),
            survivor=survivor,
            standing=None if facts else self._standing(state, event),
            facts=facts,
        )

    def _still_holds(self, state: Candidate, event: CandidateEvent) -> bool:
        """Whether it was told before; see `domain.candidate.still_holds`. By what the ledger holds now, on whichever
        node it was recorded."""
        if not candidate.is_told(state, event):
            return False
        self._need_settled_merges()
        members = self._people.forest_of(state.id).members(state.id) | {state.id}
        if members & self.pending.keys():
            raise Cut
        return candidate.still_holds(self._people.fresh(members).values(), event)

    def _found(self, reference: Reference, identifiers: Iterable[str]) -> str | None:
        """The one candidate that `reference` means; None when nobody is. Raises AmbiguousCandidate."""
        meant = self._meant(reference, identifiers)
        if len(meant) > 1:
            raise errors.AmbiguousCandidate(AMBIGUOUS)
        return meant[0] if meant else None

    def _meant(self, reference: Reference, identifiers: Iterable[str]) -> list[str]:
        """Whom `reference` means, a candidate for each person, the one of its strongest identifier first; an id without
        events only if alone."""
        named = [reference.id, *(self._holders.get(i) for i in identifiers)]
        gone = {n for n in named if n is not None and self._is_gone(n)}
        held = list(dict.fromkeys(n for n in named if n is not None and n not in gone))
        self.touched |= {*held, *gone} - {SUPPRESSED}
        if gone and (reference.id in gone or not any(self._held(id_).version > 0 for id_ in held)):
            # With an identifier of somebody living beside it, it is about them: a telephone may be two people's.
            raise errors.ErasedCandidate(ERASED)
        known = [id_ for id_ in held if self._held(id_).version > 0]
        if len(held) < 2 or len(known) < 2:
            return (known or held)[:1]
        self._need_settled_merges()
        people: list[str] = []
        while known:
            people.append(known[0])
            same = self._people.forest_of(known[0]).members(known[0])
            known = [id_ for id_ in known[1:] if id_ not in same]
        return people

    def _state(self, id_: str | None, interaction: Interaction) -> Candidate:
        state = self._held(id_) if id_ is not None else Candidate(uuid4().hex)
        if state.version == 0 and interaction.candidate.id is not None:
            raise errors.UnresolvedCandidate("candidate.id: there is no candidate of this id")
        if state.version == 0 and interaction.type != "sourced" and interaction.source is None:
            raise errors.UnresolvedCandidate(
                "candidate: nobody answers to this reference; "
                "send `sourced` first, or name a `source` to record it all the same"
            )
        return state

    def _held(self, id_: str) -> Candidate:
        return self._states.get(id_) or Candidate(id_)

    def _event(self, interaction: Interaction, state: Candidate, identifiers: Iterable[str]) -> CandidateEvent:
        """The event as proposed. An identifier that another record of the person holds stays with that record."""
        new = tuple(
            i for i in identifiers if i not in state.identifiers and self._is_free(self._holders.get(i), state.id)
        )
        return event_of(interaction, identifiers=new, into=self._into(interaction, state))

    def _is_free(self, holder: str | None, id_: str) -> bool:
        if holder is not None and self._is_gone(holder):
            return False
        return holder in (None, id_) or self._held(str(holder)).version == 0

    def _is_gone(self, holder: str) -> bool:
        """Whether an identifier leads to somebody who was erased."""
        return holder == SUPPRESSED or self._held(holder).erased

    def _into(self, interaction: Interaction, state: Candidate) -> str | None:
        """The candidate that a merge or unmerge names."""
        if interaction.type not in (Merged.type, Unmerged.type):
            return None
        reference = into_reference(interaction)
        if reference is None:
            if interaction.type == Merged.type:
                raise errors.InvalidInteraction("data.into: name the candidate to merge into")
            return state.merged_into or state.id
        id_ = self._found(reference, identifiers_of(reference))
        if id_ is None:
            raise errors.MergeRefused("data.into: the candidate to merge into is not known")
        return id_

    def _survivor(self, event: CandidateEvent) -> Candidate | None:
        """The candidate a merge points at, as the ledger holds it now."""
        if not isinstance(event, Merged):
            return None
        if event.into in self.pending:
            raise Cut
        return self._people.fresh([event.into])[event.into]

    def _standing(self, state: Candidate, event: CandidateEvent) -> Standing | None:
        """The standing an intention needs: of the whole person, now and when it is meant to happen."""
        if not isinstance(event, INTENTIONS):
            return None
        self._need_settled_merges()
        forest = self._people.forest_of(state.id)
        others = forest.members(state.id) - {state.id}
        if others & self.pending.keys():
            raise Cut
        members = [state, *self._people.fresh(others).values()]
        statements = [s for member in members for s in member.statements]
        now = now_of(statements, utc_now())
        held = standing(statements, event.channel, event.purpose, now, forest.joined)
        if held.contactable and event.occurred_at > now:
            held = standing(statements, event.channel, event.purpose, event.occurred_at, forest.joined)
        return held

    def _need_settled_merges(self) -> None:
        """Merges are read from the views, which know what is in the ledger and nothing of this round."""
        if any(isinstance(e, Merged | Unmerged) for p in self.pending.values() for e in p.events):
            raise Cut

    def _is_pending(self, id_: str, key: InteractionKey | None) -> bool:
        pending = self.pending.get(id_)
        return pending is not None and any(candidate.interaction_key(e) == key for e in pending.events)

    def _take(
        self, state: Candidate, decided: Iterable[CandidateEvent], place: int, identifiers: Iterable[str]
    ) -> None:
        pending = self.pending.setdefault(state.id, Pending(state.version))
        for event in decided:
            pending.events.append(event)
            pending.claims |= dict.fromkeys(event.identifiers, state.id)
            state = candidate.evolve(state, event, state.version + 1, PROVISIONAL_SEQ + place, utc_now())
        pending.places.append(place)
        self._holders |= {i: state.id for i in identifiers if self._is_free(self._holders.get(i), state.id)}
        self._states[state.id] = state


def into_reference(interaction: Interaction) -> Reference | None:
    """The reference in `data.into` of a merge or unmerge. Raises InvalidInteraction."""
    value: Any = interaction.data.get("into") if interaction.type in (Merged.type, Unmerged.type) else None
    if value is None:
        return None
    try:
        return Reference.model_validate({"id": value} if isinstance(value, str) else value)
    except ValidationError:
        raise errors.InvalidInteraction("data.into: not a candidate reference") from None
