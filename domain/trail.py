"""A data subject's consent trail: what happened, when it happened, when it was known, and what state followed.

Two clocks, never mixed: *as of* T leaves out what happened after T; *known at* K leaves out what the ledger did
not hold yet at K, merges included, so that an answer given earlier can be given again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.candidate import CandidateEvent, Merged, Unmerged, statement
from domain.consent import STATEMENT_TYPES, Standing, Statement, effective_at, standing
from domain.event import Recorded
from domain.identity import Edge, Forest
from domain.policy import DEFAULT_PURPOSE, Channel

RELEVANT_TYPES = STATEMENT_TYPES | {
    *("sourced", "notice_given", "consent_requested", "consent_refused", "emailed", "messaged", "merged", "unmerged"),
    *("request_received", "request_extended", "request_closed", "recipient_notified"),
}
"""What belongs in a consent trail: statements, what the person was told and asked for, and what was done on it."""

History = Sequence[Recorded[CandidateEvent]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One channel (None: any that nobody named) and purpose."""

    channel: Channel | None
    purpose: str


@dataclass(frozen=True, slots=True)
class Step:
    """One event of the trail and the standing of every cell right after it happened."""

    recorded: Recorded[CandidateEvent]
    state: tuple[tuple[Cell, Standing], ...]


@dataclass(frozen=True, slots=True)
class Trail:
    """The trail of one person. `standing` is the state as of `as_of`, as known at `known_at`."""

    candidate_id: str
    records: tuple[str, ...]
    as_of: datetime
    known_at: datetime | None
    steps: tuple[Step, ...]
    standing: tuple[tuple[Cell, Standing], ...]


def trail(candidate_id: str, histories: Iterable[History], as_of: datetime, known_at: datetime | None = None) -> Trail:
    """The trail of the person that `candidate_id` is a record of.

    `histories` holds the whole history of every record that is or ever was merged with it, in ledger order.
    """
    known = [r for history in histories for r in history if known_at is None or r.recorded_at <= known_at]
    forest = Forest.of(_live_edges(known))
    records = forest.members(candidate_id)
    held = [r for r in known if r.id in records and _effective_at(r) <= as_of]
    statements = [statement(r.id, r.event, r.seq, r.recorded_at) for r in held if r.event.type in STATEMENT_TYPES]
    cells = _cells(statements)

    def state_at(moment: datetime) -> tuple[tuple[Cell, Standing], ...]:
        return tuple((c, standing(statements, c.channel, c.purpose, moment, forest.joined)) for c in cells)

    relevant = (r for r in held if r.event.type in RELEVANT_TYPES)
    return Trail(
        candidate_id=forest.canonical(candidate_id),
        records=tuple(sorted(records)),
        as_of=as_of,
        known_at=known_at,
        steps=tuple(
            Step(r, state_at(_effective_at(r))) for r in sorted(relevant, key=lambda r: (_effective_at(r), r.seq))
        ),
        standing=state_at(as_of),
    )


def standing_known_at(
    candidate_id: str,
    histories: Iterable[History],
    channel: Channel | None,
    purpose: str,
    as_of: datetime,
    known_at: datetime,
) -> Standing:
    """May the person be contacted as of `as_of`, by what the ledger held at `known_at`; `histories` as for `trail`."""
    known = [r for history in histories for r in history if r.recorded_at <= known_at]
    forest = Forest.of(_live_edges(known))
    records = forest.members(candidate_id)
    held = [r for r in known if r.id in records and r.event.type in STATEMENT_TYPES]
    statements = [statement(r.id, r.event, r.seq, r.recorded_at) for r in held]
    return standing(statements, channel, purpose, as_of, forest.joined)


def _effective_at(recorded: Recorded[CandidateEvent]) -> datetime:
    return effective_at(recorded.event.type, recorded.event.occurred_at, recorded.recorded_at)


def _live_edges(known: Iterable[Recorded[CandidateEvent]]) -> Iterable[Edge]:
    live: dict[str, Edge] = {}
    for r in sorted(known, key=lambda r: r.seq):
        match r.event:
            case Merged(into=survivor):
                live[r.id] = Edge(r.id, survivor, r.seq)
            case Unmerged():
                live.pop(r.id, None)
    return live.values()


def _cells(statements: Iterable[Statement]) -> tuple[Cell, ...]:
    """Every channel named and "any other", for every purpose named and the default one."""
    statements = list(statements)
    channels = sorted({s.channel for s in statements if s.channel is not None})
    purposes = sorted({s.purpose for s in statements if s.purpose is not None} | {DEFAULT_PURPOSE})
    return tuple(Cell(c, p) for p in purposes for c in (*channels, None))
