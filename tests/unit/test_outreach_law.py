"""No sequence of commands reaches outreach of ours that follows an opt-out, or a restriction, in effect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from domain.candidate import Candidate, CandidateEvent
from domain.consent import standing
from domain.errors import NotContactable, Refused
from domain.identity import Edge, Forest
from domain.policy import Channel
from tests.unit.histories import examples

START = datetime(2026, 1, 1, tzinfo=UTC)
IDS = ("a" * 32, "b" * 32, "c" * 32)
NO = {"opted_out": "opted_in", "restricted": "restriction_lifted"}
"""What speaks against outreach, and what takes it back."""

Said = tuple[int, str, CandidateEvent]
"""Position, record, event."""


@dataclass
class World:
    """The records, the merges in force, and everything that was recorded, in order."""

    states: dict[str, Candidate] = field(default_factory=lambda: {id_: Candidate(id_) for id_ in IDS})
    edges: dict[str, Edge] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    now: datetime = START

    def run(self, id_: str, command: CandidateEvent) -> bool:
        """Decides and records, as the write side does; whether it was taken."""
        self.now += timedelta(hours=1)
        event = command.model_copy(update={"occurred_at": self.now})
        forest = Forest.of(self.edges.values())
        statements = [s for member in forest.members(id_) for s in self.states[member].statements]
        held = None
        if isinstance(event, c.Emailed):
            held = standing(statements, event.channel, event.purpose, self.now, forest.joined)
        survivor = self.states.get(event.into) if isinstance(event, c.Merged) else None
        try:
            decided = c.decide(self.states[id_], event, now=self.now, survivor=survivor, standing=held)
        except Refused as refusal:
            assert isinstance(event, c.Emailed) == isinstance(refusal, NotContactable)
            return False
        for each in decided:
            seq = len(self.said) + 1
            state = self.states[id_]
            self.states[id_] = c.evolve(state, each, state.version + 1, seq, self.now)
            self.said.append((seq, id_, each))
            if isinstance(each, c.Merged):
                self.edges[id_] = Edge(id_, each.into, seq)
            if isinstance(each, c.Unmerged):
                self.edges.pop(id_, None)
        return True

    def objections(self, id_: str, channel: Channel, purpose: str) -> list[Said]:
        """What speaks against outreach, told naively from what was said."""
        person = self.connected(id_, len(self.said))
        against = [s for s in self.said if s[1] in person and s[2].type in NO and covers(s[2], channel, purpose)]
        return [no for no in against if not any(self.takes_back(yes, no, channel, purpose) for yes in self.said)]

    def takes_back(self, yes: Said, no: Said, channel: Channel, purpose: str) -> bool:
        """On the same record later, or on another while the two were one person, as they still are."""
        return (
            yes[2].type == NO[no[2].type]
            and yes[0] > no[0]
            and covers(yes[2], channel, purpose)
            and (yes[1] == no[1] or yes[1] in self.connected(no[1], yes[0]))
        )

    def connected(self, id_: str, until: int) -> set[str]:
        """The records that are one person with this one by the merges in force now, of those up to `until`."""
        found, edges = {id_}, [e for e in self.edges.values() if e.seq <= until]
        for _ in IDS:
            for edge in edges:
                pair = {edge.duplicate, edge.survivor}
                if found & pair:
                    found |= pair
        return found


def covers(event: CandidateEvent, channel: Channel, purpose: str) -> bool:
    if event.type in ("restricted", "restriction_lifted"):
        return True
    return event.channel in (None, channel) and getattr(event, "purpose", None) in (None, purpose)


channels = st.sampled_from([Channel.EMAIL, Channel.EMAIL, Channel.EMAIL, Channel.PHONE])
purposes = st.sampled_from(["recruiting", "recruiting", "recruiting", "marketing"])


def commands(cls: type[CandidateEvent], **fields: Any) -> st.SearchStrategy[CandidateEvent]:
    return st.builds(
        cls, occurred_at=st.just(START), actor=st.just("candidate:self"), actor_kind=st.just("candidate"), **fields
    )


ANYTHING = (
    commands(c.OptedOut, channel=st.none() | channels, purpose=st.none() | purposes),
    commands(c.OptedIn, channel=st.none() | channels, purpose=st.none() | purposes),
    commands(c.OptedOut),
    commands(c.OptedIn),
    commands(c.Restricted, ground=st.just("unlawful"), channel=st.none() | channels),
    commands(c.RestrictionLifted),
    commands(c.BasisRecorded, basis=st.just("legitimate_interest"), purpose=purposes),
    commands(c.ConsentGiven, purpose=purposes),
    commands(c.ConsentWithdrawn, purpose=purposes),
    commands(c.Merged, into=st.sampled_from(IDS)),
    commands(c.Unmerged, into=st.sampled_from(IDS)),
    *[commands(c.Emailed, channel=channels, purpose=purposes)] * 3,
)


@examples(200)
@given(sequence=st.lists(st.tuples(st.sampled_from(IDS), st.one_of(*ANYTHING)), min_size=40, max_size=40))
def test_outreach_never_follows_an_opt_out_in_effect(sequence: list[tuple[str, CandidateEvent]]) -> None:
    """Whatever is said, merged and undone before: when it is taken, nothing speaks against it."""
    world = World()
    for id_ in IDS:
        world.run(id_, c.BasisRecorded(occurred_at=START, actor="user:x", basis="legitimate_interest"))
    for id_, command in sequence:
        if isinstance(command, c.Emailed):
            against = world.objections(id_, Channel(str(command.channel)), command.purpose)
            assert not (world.run(id_, command) and against), against
        else:
            world.run(id_, command)


@examples(100)
@given(
    order=st.permutations(IDS),
    into=st.lists(st.sampled_from(IDS), min_size=3, max_size=3),
    objects=st.sampled_from(IDS),
    channel=channels,
    before=st.booleans(),
)
def test_an_opt_out_survives_merges_in_any_direction_and_order(
    order: Iterable[str], into: list[str], objects: str, channel: Channel, before: bool
) -> None:
    """On every record of the person, said before the merges or between them."""
    world = World()
    no = c.OptedOut(occurred_at=START, actor="candidate:self")
    basis = c.BasisRecorded(occurred_at=START, actor="user:x", basis="legitimate_interest")
    for id_ in IDS:
        world.run(id_, basis)
    if before:
        world.run(objects, no)
        for other in {*IDS} - {objects}:  # an opt-in on a record of what is still somebody else answers nothing
            world.run(other, c.OptedIn(occurred_at=START, actor="candidate:self", actor_kind="candidate"))
    merges = list(zip(order, into, strict=True))
    for n, (id_, survivor) in enumerate(merges):
        world.run(id_, c.Merged(occurred_at=START, actor="user:x", into=survivor))
        if not before and n == 1:
            world.run(objects, no)
    for id_ in world.connected(objects, len(world.said)):
        assert not world.run(id_, c.Emailed(occurred_at=START, actor="user:x", channel=channel))
