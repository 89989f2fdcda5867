"""Who is in a pool at any time, against a plain model in Python."""

from datetime import datetime, timedelta

from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from domain import pool as p
from domain.candidate import CandidateEvent, statement
from domain.consent import STATEMENT_TYPES, standing
from domain.event import Event
from domain.identity import Forest
from domain.rule import Predicate, Rule
from projections import queries
from tests.unit.histories import (
    EPOCH,
    POOLS,
    RECORDED_AT,
    Recorded,
    acts,
    all_or_nothing,
    applications,
    clicks,
    examples,
    fresh,
    histories,
    merges,
    profiles,
    recorded,
    statements,
    table,
    tags,
    timed_rules,
    tracking,
)
from tests.unit.test_views_engagement import counted, human_touches, score
from tests.unit.test_views_identity import forest

ACTS = (
    *("opted_out", "opted_in", "consent_given", "consent_withdrawn"),
    *("replied", "event_attended", "applied", "preferences_updated", "complained"),
)
"""What a person says or does, beside clicks."""

SOON = timedelta(seconds=1)
FOREVER = datetime.max.replace(tzinfo=EPOCH.tzinfo)


def plain(text: str) -> str:
    return text.strip().lower()


def in_order(rows: list[Recorded], at: datetime) -> list[Recorded]:
    return sorted((r for r in rows if r.event.occurred_at <= at), key=lambda r: (r.event.occurred_at, r.seq))


class Person:
    """What is known of a person at a time."""

    def __init__(self, records: list[Recorded], merged: Forest, at: datetime) -> None:
        self.known = in_order(records, at)
        self.merged, self.at = merged, at
        self.contributions = counted(records, merged)
        self.clicks = [r for r in human_touches(records) if r.event.type == "clicked"]
        self.statements = [
            statement(r.id, r.event, r.seq, RECORDED_AT)
            for r in records
            if isinstance(r.event, CandidateEvent) and r.event.type in STATEMENT_TYPES
        ]

    def latest(self, field: str) -> object:
        values = [getattr(r.event, field) for r in self.known if r.event.type in ("sourced", "profile_corrected")]
        return next((v for v in reversed(values) if v), None)

    def contactable(self, channel: str, purpose: str) -> bool:
        return standing(self.statements, channel, purpose, self.at, self.merged.joined).contactable

    def opted_out(self) -> bool:
        """On every channel: those the person's statements name, and any other."""
        channels = {None, *(s.channel for s in self.statements)}
        found = [standing(self.statements, ch, "recruiting", self.at, self.merged.joined) for ch in channels]
        return all(held.status in ("opted_out", "restricted") for held in found)

    def stages(self) -> set[str]:
        """Where the person's applications stand."""
        found = {}
        for event in (r.event for r in self.known):
            if event.type in ("rejected", "hired"):
                found[event.job] = event.type
            elif event.type in ("applied", "stage_changed"):
                found[event.job] = plain(event.stage or event.type)
        return set(found.values())

    def last_act(self) -> datetime | None:
        """What the person said or did last; clicks as `counted` judges them."""
        said = ("opted_out", "opted_in", "consent_given", "consent_withdrawn", "replied", "event_attended", "applied")
        acted = [
            r.event.occurred_at for r in self.known if r.event.type in (*said, "preferences_updated", "complained")
        ]
        acted += [r.event.occurred_at for r in self.clicks if r.event.occurred_at <= self.at]
        return max(acted, default=None)

    def older_than(self, days: int) -> bool:
        since = self.last_act() or min((r.event.occurred_at for r in self.known), default=None)
        return since is not None and since + timedelta(days=days) <= self.at

    def newer_than(self, days: int) -> bool:
        since = self.last_act()
        return since is not None and self.at < since + timedelta(days=days)

    def meets(self, predicate: Predicate) -> bool:
        match predicate.model_dump(exclude_none=True):
            case {"attended": name}:
                attended = [r.event.event for r in self.known if r.event.type == "event_attended"]
                return plain(name) in map(plain, attended)
            case {"stage": name}:
                return plain(name) in self.stages()
            case {"last_interaction": {"older_than_days": days}}:
                return self.older_than(days)
            case {"last_interaction": {"newer_than_days": days}}:
                return self.newer_than(days)
            case {"score_at_least": least}:
                return score(self.contributions, self.at) >= least
            case {"tag": tag}:
                words = [r.event for r in self.known if r.event.type in ("tagged", "untagged")]
                last = [e.type for e in words if plain(e.tag) == plain(tag)]
                return last[-1:] == ["tagged"]
            case {"skill": skill}:
                return plain(skill) in map(plain, self.latest("skills") or ())
            case {"source": source}:
                return any(
                    r.event.type == "sourced" and plain(r.event.source or "") == plain(source) for r in self.known
                )
            case {"location": place}:
                held = plain(self.latest("location") or "")
                return plain(place) in {held, *map(plain, held.split(","))}
            case {"contactable": asked}:
                return self.contactable(**asked)
            case other:
                ((field, value),) = other.items()
                return plain(self.latest(field) or "") == plain(value)

    def matches(self, rule: Rule) -> bool:
        if not (rule.all or rule.any or rule.none):
            return False
        return (
            all(map(self.meets, rule.all))
            and (not rule.any or any(map(self.meets, rule.any)))
            and not any(map(self.meets, rule.none))
        )


def members(pool: str, history: list[Recorded], merged: Forest, at: datetime) -> set[str]:
    events = [r for r in in_order(history, at) if r.id == pool]
    types = [r.event.type for r in events]
    if "created" not in types or "archived" in types:
        return set()
    rule = next(r.event.rule for r in reversed(events) if r.event.type in ("created", "rule_changed"))
    pins = {merged.canonical(r.event.candidate): r.event.type for r in events if r.event.type.startswith("candidate_")}
    found = set()
    for id_ in {merged.canonical(r.id) for r in history if r.id not in POOLS}:
        person = Person([r for r in history if r.id not in POOLS and merged.canonical(r.id) == id_], merged, at)
        if person.known and not person.opted_out():
            by_hand = pins.get(id_)
            if by_hand == "candidate_pinned" or (by_hand != "candidate_excluded" and person.matches(rule)):
                found.add(id_)
    return found


def test_who_opted_out_of_all_leaves_even_when_pinned(database: DuckDBPyConnection) -> None:
    def at(day: int, cls: type[Event], **fields: object) -> Event:
        return cls.model_validate({"occurred_at": EPOCH + timedelta(days=day), "actor": "u"} | fields)

    a, b, (pool, _) = "a" * 32, "b" * 32, POOLS
    history = [
        (pool, at(0, p.Created, name="Go", rule={"all": [{"tag": "go"}]})),
        (a, at(1, c.Tagged, tag="Go")),
        (b, at(1, c.Sourced)),
        (pool, at(2, p.CandidatePinned, candidate=b)),
        (a, at(3, c.OptedOut)),
        (b, at(3, c.OptedOut)),
        (a, at(4, c.OptedIn)),
        (pool, at(5, p.CandidateExcluded, candidate=a)),
        (pool, at(6, p.CandidateUnpinned, candidate=a)),
        (pool, at(7, p.Archived)),
    ]
    fresh(database).apply(table(recorded(history)))
    rows = database.execute(
        "select canonical_id, date_diff('day', ?, joined_at), date_diff('day', ?, left_at), joined_seq, left_seq "
        "from pool_membership order by joined_at, canonical_id",
        [EPOCH, EPOCH],
    ).fetchall()
    assert [(id_.hex, *rest) for id_, *rest in rows] == [
        (a, 1, 3, 2, 5),
        (b, 2, 3, 4, 6),
        (a, 4, 5, 7, 8),
        (a, 6, 7, 9, 10),
    ]


def test_who_opted_in_again_on_one_channel_is_back_in_the_pool(database: DuckDBPyConnection) -> None:
    def at(day: int, cls: type[Event], **fields: object) -> Event:
        return cls.model_validate({"occurred_at": EPOCH + timedelta(days=day), "actor": "candidate:self"} | fields)

    a, (pool, _) = "a" * 32, POOLS
    history = [
        (pool, at(0, p.Created, name="Go", rule={"all": [{"tag": "go"}]})),
        (a, at(1, c.Tagged, tag="Go")),
        (a, at(2, c.OptedOut)),
        (a, at(4, c.OptedIn, channel="email")),
        (a, at(6, c.OptedOut, channel="email")),
    ]
    fresh(database).apply(table(recorded(history)))
    query = (
        "select date_diff('day', ?, joined_at), date_diff('day', ?, left_at) from pool_membership order by joined_at"
    )
    assert database.execute(query, [EPOCH, EPOCH]).fetchall() == [(1, 2), (4, 6)]


@examples(18)
@given(history=histories(profiles, tags, all_or_nothing, statements, merges, pools=True), day=st.integers(0, 21))
def test_the_members_as_of_any_time_are_those_of_the_model(
    database: DuckDBPyConnection, history: list[Recorded], day: int
) -> None:
    """Rules by their versions, pins, exclusions, opt-outs, merges and facts, at whatever time one asks."""
    fresh(database).apply(table(history))
    merged = forest([r for r in history if r.id not in POOLS])
    rows = {pool: queries.members(database, pool, EPOCH + timedelta(days=day)) for pool in POOLS}
    for pool in POOLS:
        found = [row["canonical_id"] for row in rows[pool]]
        assert sorted(found) == sorted(members(pool, history, merged, EPOCH + timedelta(days=day)))
        spans = database.execute(
            "select canonical_id, joined_at, left_at from pool_membership where pool_id = ?", [pool]
        ).fetchall()
        for at in {r.event.occurred_at for r in history}:
            then = [c.hex for c, joined, left in spans if joined <= at and (left is None or at < left)]
            assert sorted(then) == sorted(members(pool, history, merged, at)), at


@examples(18)
@given(
    history=histories(acts, acts, clicks, tracking, applications, statements, merges, pools=True, rule=timed_rules),
    asked=st.lists(st.integers(0, 90 * 24), min_size=12, max_size=12),
)
def test_conditions_on_time_hold_exactly_as_long_as_the_model_says(
    database: DuckDBPyConnection, history: list[Recorded], asked: list[int]
) -> None:
    """Attended, stage, last interaction and score: at the events, an instant before, and days after all of them."""
    fresh(database).apply(table(history))
    merged = forest([r for r in history if r.id not in POOLS])
    spans = database.execute("select pool_id, canonical_id, joined_at, left_at from pool_membership").fetchall()
    moments = {r.event.occurred_at for r in history}
    edges = {edge for _, _, *span in spans for edge in span if edge is not None}
    late = {EPOCH + timedelta(hours=hours, minutes=1) for hours in asked}
    instant = timedelta(microseconds=1)
    for at in moments | late | {m - instant for m in moments} | {e + d for e in edges for d in (SOON, -SOON)}:
        for pool in POOLS:
            then = [c.hex for p, c, joined, left in spans if p.hex == pool and joined <= at < (left or FOREVER)]
            assert sorted(then) == sorted(members(pool, history, merged, at)), at


def test_who_last_did_something_long_ago_joins_without_an_event(database: DuckDBPyConnection) -> None:
    """And leaves with the next act; one who never did anything counts from when they became known."""

    def at(day: int, cls: type[Event], **fields: object) -> Event:
        return cls.model_validate({"occurred_at": EPOCH + timedelta(days=day), "actor": "u"} | fields)

    a, b, (pool, _) = "a" * 32, "b" * 32, POOLS
    history = [
        (pool, at(0, p.Created, name="Quiet", rule={"all": [{"last_interaction": {"older_than_days": 90}}]})),
        (a, at(10, c.Sourced)),
        (a, at(40, c.Replied)),
        (a, at(200, c.Replied)),
        (b, at(10, c.Sourced)),
    ]
    fresh(database).apply(table(recorded(history)))
    query = (
        "select date_diff('day', ?, joined_at), date_diff('day', ?, left_at), joined_seq, left_seq from pool_membership"
    )
    rows = database.execute(query, [EPOCH, EPOCH]).fetchall()
    assert sorted(rows, key=repr) == [(100, None, None, None), (130, 200, None, 4), (290, None, None, None)]


def test_a_score_so_small_that_it_is_none_stops_nothing(database: DuckDBPyConnection) -> None:
    """However small the wanted score, there is a day on which it is no longer reached."""
    (pool, _), replied = POOLS, c.Replied.model_validate({"occurred_at": EPOCH, "actor": "u"})
    rule = {"all": [{"score_at_least": 1e-300}]}
    created = p.Created.model_validate({"occurred_at": EPOCH, "actor": "u", "name": "All", "rule": rule})
    fresh(database).apply(table(recorded([(pool, created), ("a" * 32, replied)])))
    assert [row["canonical_id"] for row in queries.members(database, pool, EPOCH)] == ["a" * 32]
