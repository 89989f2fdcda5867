"""Every type of event, alone in its batch, moves every view that it can move: none declares too few types."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from domain import candidate as c
from domain import pool as p
from domain.event import Event
from domain.rule import Rule
from infra.duckdb import open_database
from projections import Projector, rebuild
from tests.unit.histories import EPOCH, contents, recorded, table
from tests.views import empty_views

A, B, POOL, MATTER = "a" * 32, "b" * 32, "1" * 32, "e" * 32
RULE = {
    "any": [
        *({"tag": "go"}, {"location": "paris"}, {"source": "ats"}, {"contactable": {"channel": "email"}}),
        *({"attended": "open day"}, {"stage": "applied"}, {"stage": "interview"}, {"stage": "hired"}),
        *({"last_interaction": {"newer_than_days": 3}}, {"score_at_least": 50}),
    ],
    "none": [{"stage": "rejected"}],
}
OTHER_RULE = Rule.model_validate({"all": [{"seniority": "senior"}]})


def on(n: float, cls: type[Event], **fields: object) -> Event:
    return cls.model_validate({"occurred_at": EPOCH + timedelta(days=n), "actor": "user:x"} | fields)


BASE: list[tuple[str, Event]] = [
    (POOL, on(0, p.Created, name="P", rule=Rule.model_validate(RULE))),
    (A, on(1, c.Sourced, source="linkedin", first_name="Ada", location="London", seniority="senior")),
    (B, on(1, c.Sourced, source="github", first_name="Grace")),
    (A, on(2, c.Tagged, tag="python")),
    (A, on(2, c.Tagged, tag="go")),
    (A, on(3, c.ConsentGiven, purpose="open_tracking")),
    (A, on(3, c.OptedOut, channel="phone")),
    (A, on(4, c.Emailed, message="m1")),
    (A, on(5, c.Bounced, kind="hard", message="m0")),
    (B, on(6, c.Merged, into=A)),
]
ALONE: dict[str, list[tuple[str, Event]]] = {
    "sourced": [(A, on(9, c.Sourced, source="ats"))],
    "profile_corrected": [(A, on(9, c.ProfileCorrected, location="Paris", seniority="junior"))],
    "tagged": [(A, on(9, c.Tagged, tag="rust"))],
    "untagged": [(A, on(9, c.Untagged, tag="go"))],
    "emailed": [(A, on(9, c.Opened, message="m2", machine=False)), (A, on(9, c.Emailed, message="m2"))],
    "messaged": [(A, on(9, c.Clicked, message="m2", machine=False)), (A, on(9, c.Messaged, message="m2"))],
    "delivered": [(A, on(9, c.Delivered, message="m1"))],
    "bounced": [(A, on(9, c.Bounced, kind="hard", message="m1"))],
    "complained": [(A, on(9, c.Complained, message="m1"))],
    "opened": [(A, on(9, c.Opened, message="m1", machine=False))],
    "clicked": [(A, on(9, c.Clicked, message="m1", machine=False, url="https://example.com"))],
    "replied": [(A, on(9, c.Replied, message="m1"))],
    "event_attended": [(A, on(9, c.EventAttended, event="Open day"))],
    "consent_given": [(A, on(9, c.ConsentGiven))],
    "consent_withdrawn": [(A, on(9, c.Opened, message="m1", machine=False)), (A, on(8, c.ConsentWithdrawn))],
    "opted_out": [(A, on(9, c.OptedOut))],
    "opted_in": [(A, on(9, c.OptedIn, channel="phone"))],
    "basis_recorded": [(A, on(9, c.BasisRecorded, basis="legitimate_interest"))],
    "preferences_updated": [(A, on(9, c.PreferencesUpdated, preferences="remote"))],
    "applied": [(A, on(9, c.Applied, job="j1"))],
    "stage_changed": [(A, on(9, c.StageChanged, job="j1", stage="interview"))],
    "rejected": [(A, on(9, c.Rejected, job="j1"))],
    "hired": [(A, on(9, c.Hired, job="j1"))],
    "notice_given": [(A, on(9, c.NoticeGiven, article="14"))],
    "merged": [(A, on(9, c.Merged, into="c" * 32))],
    "unmerged": [(B, on(9, c.Unmerged, into=A))],
    "created": [("2" * 32, on(9, p.Created, name="Q", rule=OTHER_RULE))],
    "rule_changed": [(POOL, on(9, p.RuleChanged, rule=OTHER_RULE))],
    "candidate_pinned": [(POOL, on(0.5, p.CandidatePinned, candidate=B))],
    "candidate_unpinned": [
        (POOL, on(9, p.CandidatePinned, candidate=A)),
        (POOL, on(10, p.CandidateUnpinned, candidate=A)),
    ],
    "candidate_excluded": [(POOL, on(9, p.CandidateExcluded, candidate=A))],
    "archived": [(POOL, on(9, p.Archived))],
    "consent_requested": [(A, on(9, c.ConsentRequested))],
    "consent_refused": [(A, on(9, c.ConsentRefused))],
    "restricted": [(A, on(9, c.Restricted, ground="unlawful"))],
    "restriction_lifted": [(A, on(9, c.Restricted, ground="unlawful")), (A, on(10, c.RestrictionLifted))],
    "request_received": [(A, on(9, c.RequestReceived, request=MATTER, asks_for="access"))],
    "request_extended": [
        (A, on(9, c.RequestReceived, request=MATTER, asks_for="access")),
        (A, on(10, c.RequestExtended, request=MATTER, reason="number")),
    ],
    "request_closed": [
        (A, on(9, c.RequestReceived, request=MATTER, asks_for="access")),
        (A, on(10, c.RequestClosed, request=MATTER, outcome="fulfilled")),
    ],
    "recipient_notified": [(A, on(9, c.RecipientNotified, recipient="ats", about="restriction"))],
    "erased": [(A, on(9, c.Erased, erasure=MATTER, ground="objection"))],
    "late, before the person was known": [(A, on(0.5, c.NoticeGiven, article="14"))],
    "first of a new person": [("d" * 32, on(9, c.NoticeGiven, article="14"))],
}


def test_there_is_a_case_for_every_type_of_event() -> None:
    assert {*c.EVENTS, *p.EVENTS} <= ALONE.keys()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that holds the events of `BASE`; tests take copies."""
    path = empty_views(tmp_path_factory.mktemp("base") / "rapport.duckdb")
    with open_database(path) as connection:
        Projector(connection).apply(table(recorded(BASE)))
    return path


@pytest.mark.parametrize("case", ALONE)
def test_one_event_alone_leaves_the_views_as_a_rebuild_would(base: Path, tmp_path: Path, case: str) -> None:
    with open_database(Path(shutil.copy(base, tmp_path))) as connection:
        projector = Projector(connection)
        for event in recorded([*BASE, *ALONE[case]])[len(BASE) :]:
            projector.apply(table([event]))
        incremental = contents(connection)
        rebuild(projector)
        assert contents(connection) == incremental
