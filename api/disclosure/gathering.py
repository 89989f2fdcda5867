"""All that is held about one person, put together from one state of the mirror and the views."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

import duckdb
from duckdb import DuckDBPyConnection

from api import requesting
from api.disclosure import events as of_events
from api.disclosure.document import (
    EVENTS_FILE,
    FORMAT,
    VERSION,
    Asked,
    Controller,
    Derived,
    Events,
    Kept,
    Logic,
    Person,
    Purpose,
    RecipientCategory,
    Scores,
    Unreadable,
    Use,
)
from api.disclosure.events import Opened
from api.disclosure.values import rows
from api.disclosure.wording import CONSEQUENCES, RIGHTS, SCORE
from api.node import Node
from domain.compliance_policy import Policy
from domain.engagement import ENGAGEMENT_MODEL as MODEL
from domain.errors import RequestRefused, UnreadableCandidate, UnresolvedCandidate
from domain.event import utc_now
from domain.interaction import Reference
from infra.identifiers import identifiers_of
from projections import person, queries
from projections.view import View

MOST_REQUESTS = 1_000_000


class Gathered(NamedTuple):
    """`person.json`, and the events that could be opened, by when they happened."""

    person: Person
    events: list[Opened]


def record_of(node: Node, reference: Reference) -> str:
    """A record of the person that `reference` means, one with an event that cannot be read included.

    Raises UnresolvedCandidate, AmbiguousCandidate or ErasedCandidate.
    """
    try:
        return node.recording.resolve(reference)
    except UnreadableCandidate:
        if reference.id is not None:
            return reference.id
        node.wait_for(node.ledger.last_seq())
        with node.projector.cursor() as cursor:
            found = person.holders(cursor, identifiers_of(reference))
        if len(found) == 1:
            return found[0]
        raise UnresolvedCandidate("an event of this candidate cannot be read; name the person by id") from None


def gather(node: Node, candidate_id: str, request_id: str | None = None) -> Gathered:
    """Everything about the person of this record, as the ledger holds it when asked.

    `request_id` is that of the request that this answers. Raises RequestRefused when it is not one of this person.
    """
    until_seq = node.ledger.last_seq()
    node.wait_for(until_seq)
    with node.projector.cursor() as cursor, _one_state(cursor):
        canonical_id = queries.canonical(cursor, candidate_id) or candidate_id
        records = sorted(queries.records(cursor, canonical_id) or [canonical_id])
        requests = requesting.listed(cursor, canonical_id=canonical_id, limit=MOST_REQUESTS)
        asked = _asked(requests, request_id)
        events, unreadable = of_events.opened(person.events(cursor, records))
        profile = queries.profile(cursor, canonical_id)
        made_at = utc_now()
        document = Person(
            format=FORMAT,
            version=VERSION,
            made_at=made_at,
            until_seq=max([until_seq, *(e.seq for e in events), *(u.seq for u in unreadable)]),
            candidate=canonical_id,
            records=records,
            request=asked,
            controller=Controller(**node.policy.controller.model_dump()),
            profile=rows([profile])[0] if profile else None,
            categories=of_events.categories(events),
            purposes=[Purpose(**p.model_dump()) for p in node.policy.purposes],
            uses=_uses(cursor, canonical_id, made_at),
            recipients=of_events.recipients(events),
            recipient_categories=[
                RecipientCategory(who=r.category, receives=r.receives, third_countries=r.third_countries)
                for r in node.policy.recipients
            ],
            systems=of_events.systems(events),
            retention=_kept(node.policy, (profile or {}).get("jurisdiction") or node.settings.jurisdiction),
            sources=of_events.sources(events),
            scores=_scores(cursor, canonical_id, made_at),
            pools=rows(person.memberships(cursor, canonical_id)),
            placements=rows(person.placements(cursor, records)),
            requests=rows(requests),
            rights=list(RIGHTS),
            events=Events(file=EVENTS_FILE, count=len(events), unreadable=_in_order(unreadable)),
            derived={
                view.name: _derived(cursor, view, canonical_id, records)
                for view in node.projector.views
                if person.is_about_people(view)
            },
        )
    return Gathered(document, events)


@contextmanager
def _one_state(cursor: DuckDBPyConnection) -> Iterator[None]:
    """What is read meanwhile is of one moment, whatever is recorded."""
    cursor.execute("begin transaction read only")
    try:
        yield
    finally:
        cursor.execute("rollback")


def _asked(requests: Sequence[queries.Row], request_id: str | None) -> Asked | None:
    if request_id is None:
        return None
    for row in requests:
        if row["request_id"] == request_id.replace("-", ""):
            about = {name: row[name] for name in ("asks_for", "received_at", "due_at")}
            return Asked(request=row["request_id"], **about)
    raise RequestRefused("this person has no request of this id; `rapport requests list --of REF --all` has theirs")


def _uses(cursor: DuckDBPyConnection, canonical_id: str, at: datetime) -> list[Use]:
    """The standing of each purpose and channel that holds at the time."""
    return [
        Use(
            purpose=row["purpose"],
            channel=row["channel"],
            allowed=row["contactable"],
            status=row["status"],
            since=row["valid_from"],
            until=row["valid_to"],
            decided_by_seq=row["because_seq"],
            lia=row.get("lia"),
            notice_version=row.get("notice_version"),
        )
        for row in queries.trail(cursor, canonical_id)
        if row["valid_from"] <= at and (row["valid_to"] is None or at < row["valid_to"])
    ]


def _scores(cursor: DuckDBPyConnection, canonical_id: str, at: datetime) -> Scores:
    score = queries.engagement_score(cursor, canonical_id, at)
    logic = Logic(
        model=MODEL.version,
        explanation=SCORE.format(**MODEL.model_dump()),
        half_life_days=MODEL.half_life_days,
        saturation_points=MODEL.saturation_points,
        machine_within_s=MODEL.machine_within_s,
        weight_points=dict(MODEL.weight_points),
        consequences=CONSEQUENCES,
    )
    contributions = queries.engagement_explain(cursor, canonical_id, at)
    return Scores(logic=logic, score=rows([score])[0] if score else None, contributions=rows(contributions))


def _kept(policy: Policy, jurisdiction: str) -> list[Kept]:
    """How long data is kept where the person's law is that of `jurisdiction`."""
    terms = policy.terms(jurisdiction)
    named = {
        "after the last thing you did or said": terms.retention_months,
        "after an application of yours was rejected": terms.rejected_months,
    }
    periods = [
        Kept(what=f"what we hold about you, {what}", rule=f"{value.value} months", source=value.source)
        for what, value in named.items()
    ]
    return [
        *periods,
        Kept(
            what="that you were erased, without anything that says who you were",
            rule="for good, so that an import does not bring you back",
            source="Art. 5(2), 17(3)(b) GDPR",
        ),
    ]


def _derived(cursor: DuckDBPyConnection, view: View, canonical_id: str, records: Sequence[str]) -> Derived:
    """The rows of a view; of one that fails, why, without what its error may quote."""
    about, problem = list[queries.Row](), None
    try:
        about = rows(person.derived(cursor, view, canonical_id, records))
    except duckdb.Error as error:
        cursor.execute("rollback")  # an error ends the transaction; the views after this one are asked in another
        cursor.execute("begin transaction read only")
        problem = f"this view could not be asked ({type(error).__name__})"
    manifest = view.manifest
    return Derived(description=manifest.description, columns=manifest.columns, rows=about, problem=problem)


def _in_order(unreadable: Sequence[Unreadable]) -> list[Unreadable]:
    return sorted(unreadable, key=lambda event: event.seq)
