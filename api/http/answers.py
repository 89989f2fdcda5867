"""What the most used reads answer with, for the API's description; a test compares the two.

An answer is what its query gives, and is not made anew from these: what stands here is promised, and more may come.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]
    instance: str


class Ready(BaseModel):
    """Whether the node can do its work, and if not, why."""

    status: Literal["ready", "not ready"]
    reasons: list[str]


class Profile(BaseModel):
    """One person, over all their records."""

    canonical_id: str
    records: list[str]
    first_name: str | None
    last_name: str | None
    tags: list[str] | None
    sources: list[str] | None
    identifiers: list[str] | None
    first_seen_at: datetime | None
    last_interaction_at: datetime | None
    events: int


class Happened(BaseModel):
    """One event of a timeline."""

    seq: int
    type: str
    occurred_at: datetime
    recorded_at: datetime
    candidate_id: str
    channel: str | None
    source: str | None
    actor: str | None
    summary: str | None
    problem: str | None


class Timeline(BaseModel):
    """Events of one person, newest first."""

    candidate: str
    events: list[Happened]
    next: int | None


class Pool(BaseModel):
    """A pool; `rule` is JSON."""

    pool_id: str
    name: str
    description: str | None
    rule: str | None
    created_at: datetime
    archived_at: datetime | None
    size: int


class Pools(BaseModel):
    """A page of pools."""

    as_of: datetime
    known_at: datetime | None
    pools: list[Pool]
    next: str | None


class Member(BaseModel):
    """Who is in a pool."""

    canonical_id: str


class Members(BaseModel):
    """A page of a pool's members; `count` is of all pages."""

    pool: str
    as_of: datetime
    known_at: datetime | None
    count: int
    members: list[Member]
    next: str | None


class Ranked(BaseModel):
    """How engaged one person is."""

    canonical_id: str
    score: float | None
    flag: str | None
    model: str
    as_of: datetime


class Ranking(BaseModel):
    """Persons by their engagement, the highest first."""

    as_of: datetime
    known_at: datetime | None
    candidates: list[Ranked]


class Contactability(BaseModel):
    """Whether a person may be contacted, and the event that decides."""

    candidate: str
    channel: str
    purpose: str
    as_of: datetime
    known_at: datetime | None
    contactable: bool
    status: str
    because_seq: int | None


class DeadEvent(BaseModel):
    """An event that the views cannot use."""

    seq: int
    id: str
    type: str
    problem: str
    waiting: int
    since: datetime


class DeadDelivery(BaseModel):
    """A delivery that could not be recorded."""

    id: str
    provider: str
    reasons: list[str]
    since: datetime


class DeadLetters(BaseModel):
    """A page of dead letters."""

    dead_letters: list[DeadEvent]
    ingest: list[DeadDelivery]
    next: str | None


def answers(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """For `responses` of a route that answers 200 with that."""
    return {200: {"model": model}}
