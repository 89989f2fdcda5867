"""What reads and writes of candidates, pools and engagement answer with."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel


class Recorded(BaseModel):
    """What became of one interaction: `version` is that of its record, and of a duplicate there is no position."""

    status: Literal["accepted", "duplicate"]
    candidate: str
    seq: int | None = None
    version: int | None = None


class InteractionOutcome(BaseModel):
    """What became of one of several interactions: where it stands, or why it was refused."""

    status: Literal["accepted", "duplicate", "rejected"]
    candidate_id: str | None = None
    seq: int | None = None
    version: int | None = None
    code: str | None = None
    reason: str | None = None


class InteractionOutcomes(BaseModel):
    """What became of several interactions, in their order."""

    results: list[InteractionOutcome]
    accepted: int
    duplicates: int
    rejected: int
    last_seq: int | None


class Profile(BaseModel):
    """One person, over all their records."""

    canonical_id: str
    records: list[str]
    first_name: str | None
    last_name: str | None
    headline: str | None
    employer: str | None
    location: str | None
    skills: list[str] | None
    seniority: str | None
    role_family: str | None
    jurisdiction: str | None
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
    campaign: str | None
    actor_kind: str
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


class PoolMade(BaseModel):
    """A pool that was created, and where that stands in the ledger."""

    pool: str
    seq: int


class PoolChanged(BaseModel):
    """What became of a change; without a position there was nothing to change."""

    pool: str
    status: Literal["accepted", "unchanged"]
    seq: int | None


class Member(BaseModel):
    """Who is in a pool, and the event that let them in."""

    canonical_id: str
    joined_at: datetime
    left_at: datetime | None
    joined_seq: int
    first_name: str | None
    last_name: str | None
    headline: str | None
    employer: str | None
    location: str | None
    last_interaction_at: datetime | None


class Members(BaseModel):
    """A page of a pool's members; `count` is of all pages."""

    pool: str
    as_of: datetime
    known_at: datetime | None
    count: int
    members: list[Member]
    next: str | None


class Ranked(BaseModel):
    """How engaged one person is; `flag` says why less than the events would have it. An analyst is shown no names."""

    canonical_id: str
    first_name: str | None = None
    last_name: str | None = None
    score: float | None
    raw: float | None
    never_engaged: bool
    last_engaged_at: datetime | None
    contributions: int
    flag: str | None
    opted_out: bool
    hard_bounced: bool
    model: str
    ceiling_seq: int | None
    as_of: datetime


class Contribution(BaseModel):
    """One event, and what it adds to a score by then."""

    seq: int
    occurred_at: datetime
    type: str
    channel: str | None
    campaign: str | None
    candidate_id: str
    points: float | None
    counted: bool
    made_by: str | None
    reason: str | None
    adds: float | None


class Engagement(Ranked):
    """One person's score; `events` where they were asked for."""

    events: list[Contribution] | None = None


class Compared(BaseModel):
    """One person's place under another model, and under the one in force."""

    canonical_id: str
    first_name: str | None = None
    last_name: str | None = None
    rank: int | None
    score: float | None
    rank_now: int | None
    score_now: float | None


class WhatIfRanking(BaseModel):
    """The ranking that another model would give."""

    as_of: datetime
    model: str
    candidates: list[Compared]


class Ranking(BaseModel):
    """Persons by their engagement, the highest first."""

    as_of: datetime
    known_at: datetime | None
    candidates: list[Ranked]
    next: str | None
