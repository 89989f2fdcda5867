"""What breaks the rules as of a moment: each kind by an example, and all of it against a plain model."""

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby, product, takewhile
from typing import Any

import pytest
from duckdb import DuckDBPyConnection
from hypothesis import given
from hypothesis import strategies as st

from domain import candidate as c
from domain.candidate import CandidateEvent, statement
from domain.compliance_policy import GENERAL, Policy, default_policy, default_toml
from domain.consent import STATEMENT_TYPES, Statement, standing
from domain.event import Event
from domain.identity import Forest
from domain.policy import OPEN_TRACKING, Channel
from projections import Projector, queries
from projections.compliance_policy import with_policy
from projections.registry import VIEWS
from tests.unit.histories import (
    CHANNELS,
    EPOCH,
    PURPOSES,
    UNHEARD,
    Recorded,
    Taken,
    acts,
    applications,
    examples,
    fresh,
    histories,
    merges,
    moments,
    profiles,
    recorded,
    statements,
    table,
    taken,
    tracking,
)
from tests.unit.test_views_analytics_as_of import as_of
from tests.unit.test_views_identity import forest
from tests.unit.test_views_types import on

A, B = "a" * 32, "b" * 32
M1, M2 = "1" * 32, "2" * 32
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

Found = tuple[str, str, int, datetime, datetime | None, tuple[int, ...]]
"""Kind, person, event at fault, since, until when it was due, proving events."""


def findings(database: DuckDBPyConnection, at: datetime, **asked: Any) -> list[dict[str, Any]]:
    parameters = {"kind": None, "canonical_id": None, "after_kind": None, "after_seq": None, "limit": 1000} | asked
    with as_of(database, at):
        return [row for row in queries.rows(database, "findings", "list", **parameters) if row["kind"]]


def kinds(database: DuckDBPyConnection, at: datetime) -> dict[str, list[tuple[int, ...]]]:
    """What was found, by kind: the proving events of each."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for row in findings(database, at):
        found.setdefault(row["kind"], []).append(tuple(row["seqs"]))
    return found


# ── by example ─────────────────────────────────────────────────────────────────────────────────────

HELD = [
    (A, on(0, c.Sourced, source="linkedin")),
    (A, on(0, c.NoticeGiven, article="14")),
    (A, on(0, c.BasisRecorded, basis="legitimate_interest", lia="LIA-1")),
]
"""A person in order: seqs 1 to 3."""

EXAMPLES: dict[str, tuple[list[tuple[str, Event]], float, list[tuple[int, ...]], float]] = {
    # kind: events after HELD, the day on which it is found, with which proof, and a day on which it is not
    "contact_after_opt_out": (
        [(A, on(5, c.OptedOut)), (A, on(5.5, c.Emailed, message="m"))], 6, [(5, 4)], 5.2,
    ),
    "contact_without_basis": (
        [(A, on(5, c.Emailed, message="m", purpose="newsletter"))], 6, [(4,)], 4,
    ),
    "open_without_tracking_basis": (
        [(A, on(5, c.Emailed, message="m")), (A, on(6, c.Opened, message="m", machine=True))], 7, [(5,)], 5,
    ),
    "request_overdue": (
        [(A, on(5, c.RequestReceived, request=M1, asks_for="access")),
         (A, on(90, c.RequestClosed, request=M1, outcome="fulfilled"))], 50, [(4,)], 91,
    ),
    "retention_due": ([(A, on(5, c.Replied))], 740, [(4,)], 730),
    "recipients_not_told": (
        [(A, on(5, c.Restricted, ground="unlawful", request=M1)),
         (A, on(60, c.RecipientNotified, recipient="ats", about="restriction", request=M1))], 40, [(4,)], 61,
    ),
    "lia_missing": ([(A, on(5, c.BasisRecorded, basis="legitimate_interest"))], 6, [(4,)], 4),
    "consent_old": ([(A, on(5, c.ConsentGiven)), (A, on(400, c.Replied))], 740, [(4,)], 730),
}  # fmt: skip


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_history_that_breaks_one_rule_has_one_finding(database: DuckDBPyConnection, kind: str) -> None:
    """With the events that prove it; none before it happened, or after it was put right."""
    events, day, proof, other_day = EXAMPLES[kind]
    fresh(database).apply(table(recorded([*HELD, *events])))
    assert kinds(database, EPOCH + day * DAY) == {kind: proof}
    assert kinds(database, EPOCH + other_day * DAY) == {}


def test_a_contact_while_restricted(database: DuckDBPyConnection) -> None:
    events = [(A, on(5, c.Restricted, ground="unlawful")), (A, on(6, c.Emailed, message="m"))]
    told = (A, on(5, c.RecipientNotified, recipient="none", about="restriction"))
    fresh(database).apply(table(recorded([*HELD, *events, told])))
    assert kinds(database, EPOCH + 7 * DAY) == {"contact_while_restricted": [(5, 4)]}
    assert kinds(database, EPOCH + 900 * DAY) == {"contact_while_restricted": [(5, 4)]}, "what is restricted is kept"


def test_recipients_are_told_of_this_matter_and_afterwards(database: DuckDBPyConnection) -> None:
    """Art. 19: what they were told before, of something else, or of another request, is not that."""
    matter = (A, on(5, c.Restricted, ground="unlawful", request=M1))
    told = on(6, c.RecipientNotified, recipient="ats", about="restriction")
    for other in (
        told.model_copy(update={"occurred_at": EPOCH + 4 * DAY}),
        told.model_copy(update={"about": "erasure"}),
        told.model_copy(update={"request": M2}),
    ):
        fresh(database).apply(table(recorded([*HELD, matter, (A, other)])))
        assert kinds(database, EPOCH + 40 * DAY) == {"recipients_not_told": [(4,)]}, other
    fresh(database).apply(table(recorded([*HELD, matter, (A, told)])))
    assert kinds(database, EPOCH + 40 * DAY) == {}


def test_whose_data_came_from_others_is_told_within_a_month(database: DuckDBPyConnection) -> None:
    """Sourced on 1 January, 00:00 UTC: until the end of 1 February. Art. 14(3)(a)."""
    fresh(database).apply(table(recorded([HELD[0], HELD[2], (A, on(50, c.NoticeGiven, article="13"))])))
    end = datetime(2026, 2, 2, tzinfo=UTC)
    assert kinds(database, end - timedelta(microseconds=1)) == {}
    assert kinds(database, end) == {"notice_overdue": [(1,)]}
    [row] = findings(database, end)
    assert (row["since"], row["due_at"], row["canonical_id"]) == (end, end, A)
    assert kinds(database, EPOCH + 50 * DAY) == {}, "told late is told"


def test_whose_data_came_from_others_is_told_by_the_first_message(database: DuckDBPyConnection) -> None:
    """Art. 14(3)(b); in the message itself is soon enough, and who came by themselves is told under Art. 13."""
    contact = (A, on(3, c.Emailed, message="m"))
    fresh(database).apply(table(recorded([HELD[0], HELD[2], contact])))
    assert kinds(database, EPOCH + 2 * DAY) == {}
    assert kinds(database, EPOCH + 4 * DAY) == {"notice_overdue": [(1, 3)]}
    fresh(database).apply(table(recorded([HELD[0], HELD[2], contact, (A, on(3, c.NoticeGiven, article="14"))])))
    assert kinds(database, EPOCH + 4 * DAY) == {}
    by_self = on(0, c.Sourced, source="site", actor="candidate:a", actor_kind="candidate")
    fresh(database).apply(table(recorded([(A, by_self), HELD[2], contact])))
    assert kinds(database, EPOCH + 60 * DAY) == {}


def test_an_opt_out_is_honoured_late_when_the_ledger_takes_it_more_than_48_hours_after_it_was_said(
    database: DuckDBPyConnection,
) -> None:
    history = recorded([*HELD, (A, on(5, c.OptedOut))])
    times = [EPOCH, EPOCH, EPOCH, EPOCH + 7 * DAY + HOUR]
    late = [replace(r, recorded_at=at) for r, at in zip(taken(history), times, strict=True)]
    fresh(database).apply(table(late))
    assert kinds(database, EPOCH + 7 * DAY) == {"opt_out_honoured_late": [(4,)]}
    assert kinds(database, EPOCH + 7 * DAY - HOUR) == {}
    in_time = [*late[:3], replace(late[3], recorded_at=EPOCH + 7 * DAY)]
    fresh(database).apply(table(in_time))
    assert kinds(database, EPOCH + 20 * DAY) == {}


def test_an_opt_out_told_to_another_system_and_imported_with_the_person_is_not_late(
    database: DuckDBPyConnection,
) -> None:
    imported = [replace(r, recorded_at=EPOCH + 100 * DAY) for r in taken(recorded([*HELD, (A, on(5, c.OptedOut))]))]
    fresh(database).apply(table(imported))
    assert kinds(database, EPOCH + 101 * DAY) == {}


def test_an_orphan_fact_has_no_basis(database: DuckDBPyConnection) -> None:
    """Somebody of whom an event tells that nobody sourced; a basis recorded later ends it."""
    told = (A, on(9, c.BasisRecorded, basis="contract"))
    fresh(database).apply(table(recorded([(A, on(2, c.EventAttended, event="Meetup", source="door")), told])))
    assert kinds(database, EPOCH + 3 * DAY) == {"basis_missing": [(1,)]}
    assert kinds(database, EPOCH + 10 * DAY) == {}


def test_the_rejected_are_kept_for_less_unless_they_consent_or_act(database: DuckDBPyConnection) -> None:
    """Six months in general, three in France; an application that goes on, or a word of the person, ends that."""
    rejected = [*HELD, (A, on(1, c.Applied, job="j")), (A, on(10, c.Rejected, job="j"))]
    day = EPOCH + 195 * DAY
    fresh(database).apply(table(recorded(rejected)))
    assert kinds(database, day) == {"retention_due": [(5,)]}
    assert kinds(database, EPOCH + 150 * DAY) == {}
    french = (A, on(2, c.ProfileCorrected, jurisdiction="FR"))
    fresh(database).apply(table(recorded([*rejected, french])))
    assert kinds(database, EPOCH + 150 * DAY) == {"retention_due": [(5,)]}
    for more in (
        on(8, c.ConsentGiven),
        on(20, c.Replied),
        on(20, c.Applied, job="k"),
        on(20, c.StageChanged, job="j", stage="interview"),
    ):
        fresh(database).apply(table(recorded([*rejected, (A, more)])))
        assert kinds(database, day) == {}, more


def test_a_rejection_that_names_no_job_is_one_for_every_job_before(database: DuckDBPyConnection) -> None:
    """And an application that names none ends with any."""
    day, j = EPOCH + 195 * DAY, {"job": "j"}
    for applied, rejected in (({}, j), (j, {}), ({}, {})):
        history = [*HELD, (A, on(1, c.Applied, **applied)), (A, on(10, c.Rejected, **rejected))]
        fresh(database).apply(table(recorded(history)))
        assert kinds(database, day) == {"retention_due": [(5,)]}, (applied, rejected)
        fresh(database).apply(table(recorded([*history, (A, on(11, c.Applied, job="k"))])))
        assert kinds(database, day) == {}, (applied, rejected)


def test_an_application_that_goes_on_outlasts_a_rejection_for_another_job(database: DuckDBPyConnection) -> None:
    """Whether or not it names a job, and whoever moves it on."""
    for job in ({"job": "k"}, {}):
        open_ = on(11, c.StageChanged, stage="interview", **job)
        events = [(A, on(1, c.Applied, job="j")), (A, open_), (A, on(10, c.Rejected, job="j"))]
        fresh(database).apply(table(recorded([*HELD, *events])))
        assert kinds(database, EPOCH + 300 * DAY) == {}, job
        assert kinds(database, EPOCH + 740 * DAY) == {"retention_due": [(4,)]}, job


def test_a_basis_that_ended_shows_beside_an_opt_out_of_one_channel(database: DuckDBPyConnection) -> None:
    """Who opted out of all is kept for that; who is asked for consent has time to answer."""
    [told] = [event for _, event in HELD if event.type == "notice_given"]
    sourced, over = (A, on(0, c.Sourced, source="fair")), (A, on(1, c.ConsentGiven, expires_at=EPOCH + 2 * DAY))
    for more, found in (
        ((), {"basis_ended": [(3,)]}),
        ((on(1, c.OptedOut, channel="sms"),), {"basis_ended": [(3,)]}),
        ((on(1, c.OptedOut),), {}),
    ):
        fresh(database).apply(table(recorded([sourced, (A, told), over, *((A, event) for event in more)])))
        assert kinds(database, EPOCH + 3 * DAY) == found, more
    asked = (A, on(1, c.BasisRecorded, basis="consent"))
    fresh(database).apply(table(recorded([sourced, (A, told), asked])))
    assert kinds(database, EPOCH + 3 * DAY) == {}
    assert kinds(database, EPOCH + 40 * DAY) == {"basis_ended": [(3,)]}


def test_no_open_and_no_machine_starts_the_clock_again(database: DuckDBPyConnection) -> None:
    """Only an act of the person does."""
    basis = (A, on(0, c.BasisRecorded, basis="consent", purpose=OPEN_TRACKING))
    given = (A, on(0, c.ConsentGiven, purpose=OPEN_TRACKING))
    opened = (A, on(700, c.Opened, message="m", machine=False))
    clicked = (A, on(700, c.Clicked, message="m", url="https://a", machine=True))
    fresh(database).apply(table(recorded([*HELD, (A, on(5, c.Replied)), basis, given, opened, clicked])))
    assert kinds(database, EPOCH + 740 * DAY)["retention_due"] == [(4,)]


def test_a_violation_does_not_wait_behind_a_broken_event(database: DuckDBPyConnection) -> None:
    history = recorded([*HELD, (A, on(5, c.Tagged, tag="x")), (A, on(6, c.OptedOut)), (A, on(7, c.Emailed))])
    broken = [replace(r, problem="seal broken") if r.seq == 4 else r for r in history]
    fresh(database).apply(table(broken))
    assert kinds(database, EPOCH + 8 * DAY) == {"contact_after_opt_out": [(6, 5)]}


def test_who_was_erased_is_in_no_finding(database: DuckDBPyConnection) -> None:
    """As of any time, for nothing is left to prove it with; of a record merged with others, those stay."""
    wronged = [*HELD, (A, on(5, c.OptedOut)), (A, on(6, c.Emailed)), (B, on(7, c.Emailed))]
    erased = (A, on(8, c.Erased, erasure=M1, ground="objection"))
    fresh(database).apply(table(recorded([*wronged, erased])))
    assert kinds(database, EPOCH + 7 * DAY) == {"basis_missing": [(6,)], "contact_without_basis": [(6,)]}
    database.execute("delete from ops.erased")


def test_another_policy_is_another_judgement(database: DuckDBPyConnection) -> None:
    """What rests on it is shown anew; the tables stay as they are, and the default comes back with the next start."""
    fresh(database).apply(table(recorded([*HELD, (A, on(5, c.Replied))])))
    strict = Policy.from_toml(default_toml().replace("value = 24", "value = 2"))
    assert kinds(database, EPOCH + 100 * DAY) == {}
    built = "select name, built_at from ops.views where name in ('gdpr_audit', 'engagement_score') order by name"
    before = database.execute(built).fetchall()
    Projector(database, with_policy(VIEWS, strict, GENERAL))
    assert kinds(database, EPOCH + 100 * DAY) == {"retention_due": [(4,)]}
    Projector(database)
    assert kinds(database, EPOCH + 100 * DAY) == {}
    assert database.execute(built).fetchall() == before


def test_who_names_no_jurisdiction_is_under_that_of_the_setting(database: DuckDBPyConnection) -> None:
    rejected = [*HELD, (A, on(1, c.Applied, job="j")), (A, on(10, c.Rejected, job="j"))]
    elsewhere = [(B, e) for _, e in rejected] + [(B, on(1, c.ProfileCorrected, jurisdiction="US"))]
    fresh(database).apply(table(recorded([*rejected, *elsewhere])))
    Projector(database, with_policy(VIEWS, default_policy(), "FR"))
    assert kinds(database, EPOCH + 150 * DAY) == {"retention_due": [(5,)]}, "US is not among them: EU in general"
    Projector(database)
    assert kinds(database, EPOCH + 150 * DAY) == {}


def test_findings_come_the_gravest_kind_first_and_page_by_page(database: DuckDBPyConnection) -> None:
    events = [(who, on(n, c.Emailed)) for n in range(4) for who in (A, B)]
    fresh(database).apply(table(recorded([*HELD, *events, (A, on(1, c.OptedOut))])))
    at = EPOCH + 9 * DAY
    whole = findings(database, at)
    ranks = dict(database.execute("select kind, place from finding_kinds").fetchall())
    assert [(ranks[r["kind"]], r["seq"]) for r in whole] == sorted((ranks[r["kind"]], r["seq"]) for r in whole)
    assert {r["total"] for r in whole} == {len(whole)}
    paged: list[dict[str, Any]] = []
    while page := findings(
        database,
        at,
        limit=3,
        after_kind=paged[-1]["kind"] if paged else None,
        after_seq=paged[-1]["seq"] if paged else None,
    ):
        paged += page
    assert paged == whole
    assert findings(database, at, kind="basis_missing") == [
        r | {"total": 1} for r in whole if r["kind"] == "basis_missing"
    ]
    assert {r["canonical_id"] for r in findings(database, at, canonical_id=A)} == {A}


# ── against a plain model ──────────────────────────────────────────────────────────────────────────


def _of(cls: type[Event], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    return st.builds(cls, occurred_at=moments, actor=st.just("user:x"), **fields)


_matters, _actors = st.sampled_from([M1, M2]), st.sampled_from(["candidate", "user"])
_about = st.sampled_from(["rectification", "restriction", "erasure"])
matters = st.one_of(
    _of(c.RequestReceived, request=_matters, asks_for=st.sampled_from(["access", "rectification", "erasure"])),
    _of(c.RequestExtended, request=_matters, reason=st.just("number")),
    _of(c.RequestClosed, request=_matters, outcome=st.sampled_from(["fulfilled", "refused"]), explanation=st.just("x")),
    _of(c.Restricted, ground=st.just("unlawful"), request=_matters | st.none()),
    _of(c.RestrictionLifted, request=_matters | st.none()),
    _of(c.RecipientNotified, recipient=st.just("ats"), about=_about, request=_matters | st.none()),
)
notices = _of(c.NoticeGiven, article=st.sampled_from(["13", "14"]))
sourcings = _of(c.Sourced, actor_kind=_actors, jurisdiction=st.sampled_from([None, "FR", "DE", "GB", "US"]))
contacts = _of(c.Messaged, channel=st.sampled_from([*CHANNELS, UNHEARD[0]]), purpose=st.sampled_from([*PURPOSES, "x"]))
legitimate = _of(c.BasisRecorded, basis=st.just("legitimate_interest"), lia=st.sampled_from([None, "LIA"]))
anything = (
    *(statements, statements, legitimate, tracking, matters, matters, notices, sourcings, contacts, contacts),
    *(acts, applications, profiles, merges, _of(c.ConsentGiven)),
)


@st.composite
def lives(draw: st.DrawFn) -> list[Taken]:
    """Histories of three weeks, a year or three and a half, recorded as they go or all at once, each matter once."""
    slower = draw(st.sampled_from([1, 18, 60]))
    seen = set[tuple[str, str, str]]()
    events = []
    for r in draw(histories(*anything, max_size=30)):
        event = r.event.model_copy(update={"occurred_at": EPOCH + (r.event.occurred_at - EPOCH) * slower})
        if r.event.type.startswith("request_"):
            key = (r.id, r.event.type, getattr(event, "request", ""))
            if key in seen:
                continue
            seen.add(key)
        events.append((r.id, event))
    begin = EPOCH + draw(st.sampled_from([0, 5, 1300])) * DAY
    step = draw(st.sampled_from([timedelta(seconds=1), 17 * HOUR]))
    return taken(recorded(events), begin, step)


@examples(25)
@given(history=lives(), day=st.integers(0, 2600))
def test_findings_are_those_of_the_plain_model(database: DuckDBPyConnection, history: list[Taken], day: int) -> None:
    """At any time, with merges, late arrivals, several laws and every kind."""
    fresh(database).apply(table(history))
    for at in (EPOCH + day * DAY / 2 + HOUR, history[-1].event.occurred_at):
        found = {
            (r["kind"], r["canonical_id"], r["seq"], r["since"], r["due_at"], tuple(r["seqs"]))
            for r in findings(database, at)
        }
        assert found == set(model(database, history, at))


def test_every_course_of_applications_is_kept_for_as_long_as_the_plain_model_says(database: DuckDBPyConnection) -> None:
    """All that can come of up to three events about two jobs or none that is named, each another person's."""
    kinds_ = (c.Applied, partial(c.StageChanged, stage="interview"), c.Rejected, c.Hired)
    steps = [(kind, job) for kind in kinds_ for job in ("j", "k", None)]
    courses = [course for length in (1, 2, 3) for course in product(steps, repeat=length)]
    events = [
        (f"{number:032x}", kind(occurred_at=EPOCH + day * DAY, actor="user:x", job=job))
        for number, course in enumerate(courses)
        for day, (kind, job) in enumerate(course)
    ]
    history = taken(recorded(events))
    fresh(database).apply(table(history))
    at, human, merged = EPOCH + 300 * DAY, acts_of_people(database), forest([])
    expected = set()
    for id_, of_person in groupby(history, key=lambda r: r.id):
        known = list(of_person)
        due = _Person(known, known, merged, human, at).retention()
        expected |= {(id_, seq, until) for _, seq, until, _ in due if until <= at}
    found = findings(database, at, kind="retention_due", limit=len(courses))
    assert {(r["canonical_id"], r["seq"], r["due_at"]) for r in found} == expected
    assert 0 < len(expected) < len(courses)


def acts_of_people(database: DuckDBPyConnection) -> dict[int, datetime]:
    """When people did what they did by themselves, by the event's position, as `engagement_score` has judged it."""
    query = "select seq, type, occurred_at from engagement_score where made_by = 'human'"
    against_contact = ("opened", "opted_out", "complained", "consent_withdrawn")
    return {row[0]: row[2] for row in database.execute(query).fetchall() if row[1] not in against_contact}


def model(database: DuckDBPyConnection, history: Sequence[Taken], at: datetime) -> Iterator[Found]:
    """Person by person, rule by rule. Who did what is as `engagement_score` has judged it."""
    merged = forest(list(history))
    history, human = [_held(r) for r in history], acts_of_people(database)
    for person in sorted({merged.canonical(r.id) for r in history}):
        of_person = sorted((r for r in history if merged.canonical(r.id) == person), key=_order)
        known = [r for r in of_person if r.event.occurred_at <= at]
        if known:
            for found in _Person(of_person, known, merged, human, at).findings():
                yield found[0], person, *found[1:]


def _held(r: Taken) -> Taken:
    """A statement dated ahead, as of when it was recorded."""
    if r.event.type not in STATEMENT_TYPES:
        return r
    at = min(r.event.occurred_at, r.recorded_at)
    return replace(r, event=r.event.model_copy(update={"occurred_at": at}))


def _order(r: Recorded) -> tuple[datetime, int]:
    return r.event.occurred_at, r.seq


def end_of(begin: datetime, months: int) -> datetime:
    """The midnight that ends the day of the same number, so many months later."""
    year, month = divmod(begin.year * 12 + begin.month - 1 + months, 12)
    day = min(begin.day, calendar.monthrange(year, month + 1)[1])
    return datetime(year, month + 1, day, tzinfo=UTC) + DAY


@dataclass
class _Person:
    history: list[Taken]
    known: list[Taken]
    merged: Forest
    human: dict[int, datetime]
    at: datetime

    def of(self, *types: str) -> list[Any]:
        """Events of these types, with their fields at hand."""
        return [r for r in self.known if r.event.type in types]

    def findings(self) -> Iterator[tuple[Any, ...]]:
        yield from self.touches()
        for kind, seq, due, seqs in (
            *self.notice(),
            *self.retention(),
            *self.requests(),
            *self.opt_outs(),
            *self.consents(),
            *self.matters(),
        ):
            if due <= self.at:
                yield kind, seq, due, due, seqs
        yield from self.ended()
        if not [r for r in self.of("basis_recorded", "consent_given") if r.event.purpose != OPEN_TRACKING]:
            yield "basis_missing", self.known[0].seq, self.known[0].event.occurred_at, None, (self.known[0].seq,)
        for seq in {s.because_seq for s in self.cells(self.at) if s.status == "legitimate_interest"}:
            [r] = [r for r in self.known if r.seq == seq]
            if getattr(r.event, "lia", None) is None:
                yield "lia_missing", seq, r.event.occurred_at, None, (seq,)

    @property
    def law(self) -> Any:
        named = [r.event.jurisdiction for r in self.of("sourced", "profile_corrected") if r.event.jurisdiction]
        return default_policy().terms(named[-1] if named else None)

    def said(self) -> list[Statement]:
        return [
            statement(r.id, r.event, r.seq, r.recorded_at)
            for r in self.history
            if isinstance(r.event, CandidateEvent) and r.event.type in STATEMENT_TYPES
        ]

    def cells(self, at: datetime) -> list[Any]:
        """The standing in every cell that a statement names, and in those that none does."""
        said = self.said()
        purposes = {s.purpose for s in said if s.purpose} | {"recruiting", "nobody named it"}
        channels = {s.channel for s in said if s.channel} | {None}
        return [standing(said, ch, p, at, self.merged.joined) for ch in channels for p in purposes] if said else []

    def ended(self) -> Iterator[tuple[Any, ...]]:
        """No cell says more than that what it rested on is over: since the last that rests on something does."""
        said = self.said()
        begins = sorted({s.occurred_at for s in said} | {s.expires_at for s in said if s.expires_at})
        if not begins or begins[0] > self.at:
            return
        since, seqs, is_waiting = [], set[int](), False
        for channel in {s.channel for s in said if s.channel} | {None}:
            for purpose in {s.purpose for s in said if s.purpose} - {OPEN_TRACKING} | {"recruiting", "nobody named it"}:
                now = standing(said, channel, purpose, self.at, self.merged.joined)
                if now.status == "opted_out" and channel is not None:
                    continue
                if now.status not in ("withdrawn", "expired", "consent_missing", "no_basis"):
                    return
                is_waiting = is_waiting or now.status == "consent_missing"
                spans = [(t, standing(said, channel, purpose, t, self.merged.joined)) for t in begins if t <= self.at]
                same = list(takewhile(lambda span, now=now: span[1] == now, reversed(spans)))  # type: ignore[misc]
                if now.because_seq is not None:
                    since.append(same[-1][0])
                    seqs.add(now.because_seq)
        if seqs and is_waiting:
            due = end_of(max(since), 1)
            if due <= self.at:
                yield "basis_ended", max(seqs), due, due, tuple(sorted(seqs))
        elif seqs:
            yield "basis_ended", max(seqs), max(since), None, tuple(sorted(seqs))

    def touches(self) -> Iterator[tuple[Any, ...]]:
        for r in self.of("emailed", "messaged", "opened"):
            opened = r.event.type == "opened"
            cell = (Channel.EMAIL, OPEN_TRACKING) if opened else (r.event.channel, r.event.purpose)
            held = standing(self.said(), *cell, r.event.occurred_at, self.merged.joined)
            by_status = {"opted_out": "contact_after_opt_out", "restricted": "contact_while_restricted"}
            kind = "open_without_tracking_basis" if opened else by_status.get(held.status, "contact_without_basis")
            if not held.contactable:
                because = () if held.because_seq is None else (held.because_seq,)
                yield kind, r.seq, r.event.occurred_at, None, (r.seq, *because)

    def notice(self) -> Iterator[tuple[Any, ...]]:
        others = [r for r in self.of("sourced") if r.event.actor_kind != "candidate"]
        if others and not self.of("notice_given"):
            begin, due, seqs = others[0].event.occurred_at, end_of(others[0].event.occurred_at, 1), (others[0].seq,)
            if contacts := self.of("emailed", "messaged"):
                due = min(due, max(begin, contacts[0].event.occurred_at))
                seqs = (*seqs, contacts[0].seq)
            yield "notice_overdue", others[0].seq, due, seqs

    def retention(self) -> Iterator[tuple[Any, ...]]:
        now = self.cells(self.at)
        if any(s.status == "restricted" for s in now):
            return
        did = sorted((at, r.seq) for r in self.history if (at := self.human.get(r.seq, self.at + DAY)) <= self.at)
        first = self.known[0]
        last, months = (did or [(first.event.occurred_at, first.seq)])[-1], self.law.retention_months.value
        said = self.said()
        channels = {s.channel for s in said if s.channel} | {None}
        consents = [standing(said, ch, "recruiting", self.at, self.merged.joined).status for ch in channels]
        applied = self.of("applied", "stage_changed", "rejected", "hired")
        lasts = {r.event.job: r for r in applied}
        rejections = [r for r in applied if r.event.type == "rejected"]
        is_over = [
            r.event.type == "rejected"
            or any(_order(n) > _order(r) and (n.event.job is None or job is None) for n in rejections)
            for job, r in lasts.items()
        ]
        rejected = applied[-1] if applied and all(is_over) else None
        if rejected and "consent" not in consents and (not did or _order(rejected) > did[-1]):
            last, months = _order(rejected), self.law.rejected_months.value
        yield "retention_due", last[1], end_of(last[0], months), (last[1],)

    def asked(self) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """Requests count, as consent does, from when they are known where they are dated ahead."""
        said = [m for m in self.history if min(m.event.occurred_at, m.recorded_at) <= self.at]
        for r in [m for m in said if m.event.type == "request_received"]:
            same = [m for m in said if m.id == r.id and getattr(m.event, "request", None) == r.event.request]
            yield (
                r,
                [m for m in same if m.event.type == "request_extended"],
                [m for m in same if m.event.type == "request_closed"],
            )

    def requests(self) -> Iterator[tuple[Any, ...]]:
        for r, longer, closed in self.asked():
            if not closed:
                first = end_of(r.event.occurred_at, 1)
                told_in_time = [m for m in longer if m.event.occurred_at < first]
                due = end_of(r.event.occurred_at, 3) if told_in_time else first
                yield "request_overdue", r.seq, due, (r.seq, *(m.seq for m in longer))

    def opt_outs(self) -> Iterator[tuple[Any, ...]]:
        held_from = min(r.recorded_at for r in self.history)
        for r in self.of("opted_out", "complained", "consent_withdrawn"):
            due = max(r.event.occurred_at, held_from) + 48 * HOUR
            if r.recorded_at > due:
                yield "opt_out_honoured_late", r.seq, due, (r.seq,)

    def consents(self) -> Iterator[tuple[Any, ...]]:
        for seq in {s.because_seq for s in self.cells(self.at) if s.status == "consent" and s.contactable}:
            [r] = [r for r in self.known if r.seq == seq]
            yield "consent_old", seq, end_of(r.event.occurred_at, 24), (seq,)

    def matters(self) -> Iterator[tuple[Any, ...]]:
        due = [(r, "restriction", r.event.request) for r in self.of("restricted")]
        for r, _, closed in self.asked():
            if closed and closed[0].event.outcome == "fulfilled" and r.event.asks_for in ("rectification", "erasure"):
                due.append((closed[0], r.event.asks_for, r.event.request))
        for r, about, request in due:
            told = [
                t
                for t in self.of("recipient_notified")
                if t.event.about == about
                and (
                    t.event.request == request
                    if t.event.request and request
                    else t.event.occurred_at >= r.event.occurred_at
                )
            ]
            if not told:
                yield "recipients_not_told", r.seq, r.event.occurred_at + 30 * DAY, (r.seq,)
