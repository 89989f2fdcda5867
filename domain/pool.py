"""Pool: a named set of candidates, by rule and by hand."""

from dataclasses import dataclass, replace
from datetime import datetime

from domain import errors
from domain.event import Event, HexId, Name, Personal, Text, catalogue, check_clock
from domain.rule import EMPTY, Rule

# ── ids ────────────────────────────────────────────────────────────────────────────────────────────

KIND = "pool"

# ── events ─────────────────────────────────────────────────────────────────────────────────────────


class PoolEvent(Event):
    """An event on a pool."""


class Created(PoolEvent, type="created"):
    """The pool exists from now on."""

    name: Personal[Name]
    description: Personal[Text | None] = None
    rule: Rule = EMPTY


class RuleChanged(PoolEvent, type="rule_changed"):
    """Another rule holds from now on; who was in before stays in the history."""

    rule: Rule


class CandidatePinned(PoolEvent, type="candidate_pinned"):
    """In, whatever the rule says, unless opted out or erased. Lifts an exclusion."""

    candidate: HexId


class CandidateUnpinned(PoolEvent, type="candidate_unpinned"):
    """Neither pinned nor excluded any more; the rule decides again."""

    candidate: HexId


class CandidateExcluded(PoolEvent, type="candidate_excluded"):
    """Out, whatever the rule says. Lifts a pin."""

    candidate: HexId


class Archived(PoolEvent, type="archived"):
    """Everybody left; the pool takes no more events."""


EVENTS = catalogue(Created, RuleChanged, CandidatePinned, CandidateUnpinned, CandidateExcluded, Archived)

# ── state and evolve ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Pool:
    """What decisions rest on. Version 0: there is no such pool."""

    id: str
    version: int = 0
    rule: Rule = EMPTY
    archived: bool = False
    interactions: frozenset[str] = frozenset()


def evolve(state: Pool, event: PoolEvent, version: int) -> Pool:
    """The state after `event`, which is this pool's `version`."""
    state = replace(state, version=version)
    if event.interaction is not None:
        state = replace(state, interactions=state.interactions | {event.interaction})
    match event:
        case Created(rule=rule) | RuleChanged(rule=rule):
            return replace(state, rule=rule)
        case Archived():
            return replace(state, archived=True)
    return state


# ── decide ─────────────────────────────────────────────────────────────────────────────────────────


def decide(state: Pool, proposed: PoolEvent, *, now: datetime) -> tuple[PoolEvent, ...]:
    """The events that follow from `proposed`: itself, or none when it changes nothing.

    Raises OccurredInFuture, PoolRefused or UnknownPool.
    """
    check_clock(proposed, now)
    if proposed.interaction is not None and proposed.interaction in state.interactions:
        return ()
    match proposed:
        case Created() if state.version > 0:
            raise errors.PoolRefused("a pool of this name exists already; choose another name or change its rule")
        case Created():
            return (proposed,)
        case _ if state.version == 0:
            raise errors.UnknownPool("there is no such pool; `rapport pools list` shows them")
        case Archived() if state.archived:
            return ()
        case _ if state.archived:
            raise errors.PoolRefused("the pool is archived and takes no more changes")
        case RuleChanged(rule=rule) if rule == state.rule:
            return ()
    return (proposed,)
