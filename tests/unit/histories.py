"""Histories of events, as the rows the projector takes."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from domain import candidate as c
from domain import pool as p
from domain.event import Event, personal_fields
from domain.policy import OPEN_TRACKING, Basis, Channel
from domain.rule import Rule
from projections import BATCH_SCHEMA, Projector
from projections.registry import VIEWS

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
RECORDED_AT = EPOCH + timedelta(days=400)


@dataclass(frozen=True)
class Recorded:
    """An event as the ledger holds it."""

    seq: int
    kind: str
    id: str
    version: int
    event: Event
    problem: str | None = None
    key_destroyed: bool = False

    @property
    def row(self) -> dict[str, Any]:
        """The row of a batch that the decoder would make of it."""
        fields = self.event.model_dump(mode="json", exclude_none=True, exclude={"occurred_at"})
        personal = {n: v for n, v in fields.items() if n in personal_fields(type(self.event))}
        public = {n: v for n, v in fields.items() if n not in personal}
        usable = self.problem is None
        return {
            "seq": self.seq,
            "recorded_at": RECORDED_AT + timedelta(seconds=self.seq),
            "kind": self.kind,
            "id": self.id,
            "version": self.version,
            "type": self.event.type,
            "v": self.event.v,
            "occurred_at": self.event.occurred_at if usable else None,
            "public": json.dumps(public) if usable else None,
            "personal": json.dumps(personal) if usable and not self.key_destroyed else None,
            "body": f"{self.seq}:{self.event.type}".encode(),
            "problem": self.problem,
        }


@dataclass(frozen=True)
class Taken(Recorded):
    """An event that the ledger took at a time of its own."""

    recorded_at: datetime = RECORDED_AT

    @property
    def row(self) -> dict[str, Any]:
        return super().row | {"recorded_at": self.recorded_at}


def taken(
    history: Sequence[Recorded], begin: datetime = RECORDED_AT, step: timedelta = timedelta(seconds=1)
) -> list[Taken]:
    """The history, its events recorded one step after the other."""
    return [Taken(r.seq, r.kind, r.id, r.version, r.event, recorded_at=begin + r.seq * step) for r in history]


def recorded(events: Iterable[tuple[str, Event]], after: int = 0) -> list[Recorded]:
    """The events, each with the id of its aggregate, as the ledger would number them."""
    versions: dict[str, int] = {}
    rows = []
    for seq, (aggregate, event) in enumerate(events, start=after + 1):
        versions[aggregate] = versions.get(aggregate, 0) + 1
        kind = "pool" if type(event).__module__ == "domain.pool" else "candidate"
        rows.append(Recorded(seq, kind, aggregate, versions[aggregate], event))
    return rows


def table(history: Sequence[Recorded]) -> pa.Table:
    """The batch of these events."""
    return pa.Table.from_pylist([r.row for r in history], schema=BATCH_SCHEMA)


# ── strategies ─────────────────────────────────────────────────────────────────────────────────────

CANDIDATES = tuple(letter * 32 for letter in "abcd")
POOLS = ("1" * 32, "2" * 32)
PURPOSES = ("recruiting", OPEN_TRACKING, "marketing")
CHANNELS = (None, Channel.EMAIL, Channel.PHONE)
UNHEARD = (Channel.SMS, "newsletter")
"""A channel and a purpose that no history names."""

days = st.integers(0, 20)
moments = st.builds(lambda day, s: EPOCH + timedelta(days=day, seconds=s), days, st.sampled_from([0, 0, 1, 5]))


def _of(cls: type[Event], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    return st.builds(cls, occurred_at=moments, actor=st.just("user:x"), **fields)


def _maybe(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


_tags = st.sampled_from(["Python", "python ", "go"])
_locations = _maybe("Berlin, Germany", "berlin", "Paris")
_skills = st.sampled_from([(), ("SQL",), ("sql", "Rust"), ("Rust",)])
_profile = {
    "source": _maybe("linkedin", "ats"),
    "location": _locations,
    "skills": _skills,
    "seniority": _maybe("junior", "senior"),
    "role_family": _maybe("Data"),
    "first_name": _maybe("Ada", "Grace"),
    "employer": _maybe("Analytical Engines"),
    "identifiers": st.sampled_from([(), ("email:a@example.com",), ("email:b@example.com", "phone:+4412345678")]),
}
_channels, _purposes = st.sampled_from(CHANNELS), _maybe(*PURPOSES)
_named = st.sampled_from(PURPOSES)
_messages = _maybe("m1", "m2")
_machine = st.sampled_from([None, True, False, False])
_expiry = st.none() | days.map(lambda day: EPOCH + timedelta(days=day, hours=12))

profiles = _of(c.Sourced, **_profile) | _of(c.ProfileCorrected, **_profile)
tags = _of(c.Tagged, tag=_tags) | _of(c.Untagged, tag=_tags)
statements = st.one_of(
    _of(c.ConsentGiven, purpose=_named, channel=_channels, expires_at=_expiry, notice_version=_maybe("n1")),
    _of(c.ConsentWithdrawn, purpose=_purposes, channel=_channels),
    _of(c.OptedOut, purpose=_purposes, channel=_channels, method=_maybe("link")),
    _of(c.OptedIn, purpose=_purposes, channel=_channels),
    _of(c.BasisRecorded, purpose=_named, channel=_channels, basis=st.sampled_from(Basis), lia=_maybe("LIA-1")),
    _of(c.Complained),
)
_matters = _maybe("1" * 32, "2" * 32)
restrictions = st.one_of(
    _of(c.Restricted, ground=st.just("unlawful"), channel=_channels, request=_matters),
    _of(c.RestrictionLifted, channel=_channels, request=_matters),
)
all_or_nothing = st.one_of(
    *(_of(c.OptedOut), _of(c.OptedIn), _of(c.Restricted, ground=st.just("unlawful")), _of(c.RestrictionLifted))
)
acts = st.one_of(
    _of(c.Emailed, message=_messages),
    _of(c.Delivered, message=_messages),
    _of(c.Opened, message=_messages, machine=_machine),
    _of(c.Opened, message=_messages, machine=_machine),
    _of(c.Clicked, message=_messages, machine=_machine, url=_maybe("https://a", "https://b")),
    _of(c.Replied),
    _of(c.Bounced, kind=st.sampled_from(["hard", "soft"])),
    _of(c.EventAttended, event=st.sampled_from(["meetup", "Open day"])),
    _of(c.PreferencesUpdated, preferences=_maybe("remote only")),
)
clicks = _of(
    c.Clicked,
    message=st.just("m1"),
    machine=st.just(False),
    url=st.sampled_from(["https://a", "https://b", "https://c", "https://d"]),
)
_application = {"job": _maybe("j1", "j2"), "reason": _maybe("a good fit")}
applications = st.one_of(
    _of(c.Applied, stage=_maybe("Screening"), **_application),
    _of(c.StageChanged, stage=st.sampled_from(["screening", "Interview", "interview "]), **_application),
    _of(c.Rejected, stage=_maybe("interview"), **_application),
    _of(c.Hired, **_application),
)
tracking = _of(c.BasisRecorded, purpose=st.just(OPEN_TRACKING), basis=st.just(Basis.LEGITIMATE_INTEREST))
merges = _of(c.Merged, into=st.sampled_from(CANDIDATES)) | _of(c.Unmerged, into=st.sampled_from(CANDIDATES))

_predicates = st.one_of(
    st.sampled_from(["python", "GO"]).map(lambda tag: {"tag": tag}),
    st.sampled_from(["sql", "rust"]).map(lambda skill: {"skill": skill}),
    st.sampled_from(["berlin", " Germany", "paris"]).map(lambda place: {"location": place}),
    st.sampled_from(["junior", "senior"]).map(lambda level: {"seniority": level}),
    st.just({"source": "LinkedIn"}),
    st.just({"role_family": "data"}),
    st.builds(
        lambda channel, purpose: {"contactable": {"channel": channel, "purpose": purpose}},
        st.sampled_from(["email", "phone", "sms"]),
        st.sampled_from(["recruiting", "marketing"]),
    ),
)
_timed_predicates = st.one_of(
    st.sampled_from(["meetup", "OPEN DAY"]).map(lambda event: {"attended": event}),
    st.sampled_from(["applied", "Screening", "interview", "rejected", "hired"]).map(lambda at: {"stage": at}),
    st.sampled_from([1, 5, 12]).map(lambda n: {"last_interaction": {"older_than_days": n}}),
    st.sampled_from([1, 5, 12]).map(lambda n: {"last_interaction": {"newer_than_days": n}}),
    st.sampled_from([5.0, 40.0, 61.5, 75.0, 90.0]).map(lambda score: {"score_at_least": score}),
)
_predicates = _predicates | _timed_predicates
_some = st.lists(_predicates, max_size=2)
_one = st.lists(_predicates, min_size=1, max_size=1)
rules = st.one_of(
    *(st.fixed_dictionaries({part: _one}).map(Rule.model_validate) for part in ("all", "any", "none")),
    st.fixed_dictionaries({"all": _some, "any": _some, "none": _some}).map(Rule.model_validate),
)
timed_rules = st.fixed_dictionaries(
    {"all": st.lists(_timed_predicates, max_size=1), "any": st.lists(_timed_predicates, max_size=2)},
    optional={"none": st.lists(_timed_predicates, max_size=1)},
).map(Rule.model_validate)
_by_hand = {"candidate": st.sampled_from(CANDIDATES)}
by_hand = st.one_of(
    _of(p.CandidatePinned, **_by_hand),
    _of(p.CandidateUnpinned, **_by_hand),
    _of(p.CandidateExcluded, **_by_hand),
    _of(p.Archived),
)
pool_events = by_hand | _of(p.RuleChanged, rule=rules | timed_rules)
pools_created = _of(p.Created, name=st.just("A pool"), rule=rules | timed_rules)


@st.composite
def histories(
    draw: st.DrawFn,
    *kinds: st.SearchStrategy[Event],
    pools: bool = False,
    rule: st.SearchStrategy[Rule] = rules,
    max_size: int = 40,
    distinct: bool = False,
) -> list[Recorded]:
    """A ledger of events of these kinds; with `pools`, of both pools as well, with rules of this kind.

    With `distinct` no two events happened at the same time.
    """
    streams = st.tuples(st.sampled_from(CANDIDATES), st.one_of(*kinds))
    if pools:
        created = [(pool, draw(_of(p.Created, name=st.just("A pool"), rule=rule))) for pool in POOLS]
        streams = streams | st.tuples(st.sampled_from(POOLS), by_hand | _of(p.RuleChanged, rule=rule))
    size = draw(st.integers(1, max_size))  # lists of a free size are mostly short
    events = draw(st.lists(streams, min_size=size, max_size=size))
    if pools:
        at = draw(st.integers(0, len(events)))
        events[at:at] = created
        born = {id(created[0][1]), id(created[1][1])}
        events = [x for i, x in enumerate(events) if x[0] not in POOLS or i >= at or id(x[1]) in born]
    if distinct:
        apart = draw(st.permutations(range(len(events))))
        events = [
            (aggregate, event.model_copy(update={"occurred_at": EPOCH + timedelta(hours=7 * n)}))
            for n, (aggregate, event) in zip(apart, events, strict=True)
        ]
    return recorded(events)


@st.composite
def cuts(draw: st.DrawFn, size: int) -> list[tuple[int, int]]:
    """Batches over `size` rows, some of them starting with rows of the batch before."""
    ends = sorted(draw(st.sets(st.integers(1, size), max_size=4)) | {size})
    starts = [0, *ends[:-1]]
    return [(max(0, start - draw(st.integers(0, 2))), end) for start, end in zip(starts, ends, strict=True)]


anything = (profiles, tags, statements, restrictions, acts, applications, merges)


def examples(n: int) -> settings:
    """Hypothesis settings for `n` histories, forty times as many when RAPPORT_SOAK is set."""
    soak = bool(os.environ.get("RAPPORT_SOAK"))
    return settings(
        max_examples=n * 40 if soak else n,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# ── a database to hold them ────────────────────────────────────────────────────────────────────────

TABLES = tuple(view.table for view in VIEWS if view.stored)


def fresh(connection: DuckDBPyConnection) -> Projector:
    """A projector of an empty ledger on this connection."""
    for name in ("pii.events", "ops.dead_letters", "ops.erased", "ops.checkpoint", *TABLES):
        connection.execute(f"delete from {name}")  # noqa: S608 - a test's own names
    return Projector(connection)


def contents(connection: DuckDBPyConnection, *, seqs: bool = True) -> dict[str, list[tuple[Any, ...]]]:
    """Every view's rows, in an order of their own; without `seqs`, leaving out ledger positions."""
    found = {}
    for name in TABLES:
        columns = "*" if seqs else "columns(lambda c: not c like '%seq')"
        rows = connection.execute(f"select {columns} from {name}").fetchall()  # noqa: S608 - a test's own names
        found[name] = sorted(rows, key=repr)
    return found
