"""What each row of the made-up history says, about people who do not exist, in the domain's own events."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from domain import candidate, pool
from domain.event import Event
from domain.policy import OPEN_TRACKING, ActorKind, Basis, Channel, OptOutMethod, Seniority
from domain.rule import Rule

Fields = dict[str, Any]

FAMILIES = ("backend", "frontend", "data", "people", "sales")
SKILLS = (
    ("python", "go", "postgres", "kafka"),
    ("typescript", "react", "css", "svelte"),
    ("sql", "python", "dbt", "statistics"),
    ("hiring", "labour law", "coaching", "payroll"),
    ("negotiation", "saas", "crm", "forecasting"),
)
PLACES = (
    *(("Berlin, Germany", "DE"), ("Paris, France", "FR"), ("London, United Kingdom", "GB"), ("Lyon, France", "FR")),
    *(("Hamburg, Germany", "DE"), ("Madrid, Spain", "ES"), ("Porto, Portugal", "PT")),
)
FIRST = ("Ada", "Grace", "Linus", "Margaret", "Edsger", "Barbara", "Alan", "Radia", "Donald", "Frances", "Ken")
LAST = ("Lovelace", "Hopper", "Hamilton", "Dijkstra", "Liskov", "Turing", "Perlman", "Knuth", "Allen", "Wilson")
SOURCES = ("linkedin", "referral", "career_site", "meetup", "github", "agency")
SENIORITIES = tuple(Seniority)
STAGES = ("applied", "screening", "interview", "offer", "hired")
MEETINGS = ("Open day 2025", "Data meetup", "Open day 2026", "Go night")
METHODS = (OptOutMethod.ONE_CLICK, OptOutMethod.LINK, OptOutMethod.REPLY)


class Row(NamedTuple):
    """One event as `history.sql` plans it: `version` of the `n`-th candidate or pool, at ledger position `seq`.

    `k` counts within what the type repeats (messages, tags, stages); `previous_seq` holds the version before, 0 none.
    """

    seq: int
    kind: str
    n: int
    type: str
    occurred_at: datetime
    k: int | None
    campaign: str | None
    machine: bool | None
    target: int | None
    version: int
    previous_seq: int


def id_of(kind: str, n: int) -> str:
    """The 32-digit id of the `n`-th candidate or pool."""
    return hashlib.blake2b(f"{kind} {n}".encode(), digest_size=16).hexdigest()


def email_of(n: int) -> str:
    """The person's address, of a domain that nobody can have (RFC 2606)."""
    return f"{FIRST[n % len(FIRST)]}.{LAST[n // 11 % len(LAST)]}.{n}@example.com".lower()


def event_of(row: Row) -> Event:
    """The event that a row stands for."""
    catalogue = candidate.EVENTS if row.kind == candidate.KIND else pool.EVENTS
    return catalogue[row.type](
        occurred_at=row.occurred_at, interaction=f"made-up:{row.kind}:{row.seq}", **_by(row), **FIELDS[row.type](row)
    )


def _by(row: Row) -> Fields:
    """Who says so."""
    match row.type:
        case "replied" | "clicked" | "consent_given" | "event_attended" | "opted_out" | "opted_in" | "applied":
            return {"actor_kind": ActorKind.CANDIDATE, "actor": "candidate:self", "source": "sendgrid"}
        case "delivered" | "opened" | "bounced" | "complained":
            return {"actor_kind": ActorKind.SYSTEM, "actor": "system:sendgrid", "source": "sendgrid"}
        case "stage_changed" | "rejected" | "hired":
            return {"actor_kind": ActorKind.SERVICE, "actor": "service:greenhouse", "source": "greenhouse"}
        case "sourced":
            source = SOURCES[row.n // 5 % len(SOURCES)]
            return {"actor_kind": ActorKind.USER, "actor": f"user:recruiter-{row.n % 40}", "source": source}
    return {"actor_kind": ActorKind.USER, "actor": f"user:recruiter-{row.n % 40}"}


def _profile(n: int) -> Fields:
    """The person as they were found; of every ninth little is known."""
    place, country = PLACES[n // 13 % len(PLACES)]
    name = {"first_name": FIRST[n % len(FIRST)], "last_name": LAST[n // 11 % len(LAST)], "jurisdiction": country}
    if n % 9 == 0:
        return name
    skills = SKILLS[n % 5]
    return name | {
        "headline": f"{FAMILIES[n % 5].capitalize()} person",
        "employer": f"Company {n % 5_000}",
        "location": place,
        "skills": skills[: 1 + n // 17 % len(skills)],
        "seniority": SENIORITIES[n // 3 % len(SENIORITIES)],
        "role_family": FAMILIES[n % 5],
    }


def _rule(n: int) -> Rule:
    """Who belongs to the `n`-th pool: some thousands among 400,000."""
    tags, place, family = SKILLS[n % 5], {"location": PLACES[n % len(PLACES)][0]}, {"role_family": FAMILIES[n % 5]}
    reachable = {"contactable": {"channel": "email"}}
    rules: tuple[Fields, ...] = (
        {"all": [{"tag": tags[0]}, place, reachable], "none": [{"seniority": "intern"}]},
        {"all": [{"skill": tags[1]}, place]},
        {"all": [family, place], "any": [{"source": "referral"}, {"source": "github"}]},
        {"all": [{"seniority": "senior"}], "any": [{"tag": tag} for tag in tags[1:3]], "none": [place]},
        {"all": [{"attended": MEETINGS[n % len(MEETINGS)]}, place, reachable], "none": [{"stage": "hired"}]},
        {"all": [family, place, {"last_interaction": {"newer_than_days": 180}}, {"score_at_least": 20.0}]},
    )
    return Rule.model_validate(rules[n % len(rules)])


def _about(row: Row) -> Fields:
    """Which message."""
    return {"message": f"m-{row.n}-{row.k or 0}", "campaign": row.campaign}


def _on_email(row: Row, **more: Any) -> Fields:
    return {**_about(row), "channel": Channel.EMAIL, **more}


def _tag(row: Row) -> Fields:
    return {"tag": SKILLS[row.n % 5][(row.n // 7 + (row.k or 0)) % 4]}


def _corrected(row: Row) -> Fields:
    seniority = SENIORITIES[(row.n // 3 + 1) % len(SENIORITIES)]
    return {"headline": f"Head of {FAMILIES[row.n % 5]}", "seniority": seniority}


def _consent(row: Row) -> Fields:
    expires_at = row.occurred_at + timedelta(days=500) if row.n % 4 == 0 else None
    purpose = "recruiting" if row.k else OPEN_TRACKING
    return {"purpose": purpose, "notice_version": "2025-06", "method": "web_form", "expires_at": expires_at}


def _application(row: Row) -> Fields:
    return {"job": f"{FAMILIES[row.n % 5]}-{row.n % 60}", "stage": STAGES[2 if row.k is None else row.k]}


def _into(row: Row) -> Fields:
    return {"into": id_of(candidate.KIND, row.target or 0)}


def _member(row: Row) -> Fields:
    return {"candidate": id_of(candidate.KIND, row.target or 0)}


FIELDS: dict[str, Callable[[Row], Fields]] = {
    "sourced": lambda row: _profile(row.n) | {"identifiers": (f"email:{email_of(row.n)}",)},
    "profile_corrected": _corrected,
    "tagged": _tag,
    "untagged": _tag,
    "emailed": lambda row: _about(row) | {"template": f"t-{row.n % 9}"},
    "messaged": lambda row: {"message": f"l-{row.n}", "channel": Channel.LINKEDIN},
    "delivered": _on_email,
    "opened": lambda row: _on_email(row, machine=row.machine),
    "clicked": lambda row: _on_email(row, machine=row.machine, url=f"https://jobs.example.com/{row.n % 50}"),
    "bounced": lambda row: _on_email(row, kind="hard" if row.n % 3 == 0 else "soft"),
    "replied": _on_email,
    "complained": _on_email,
    "opted_out": lambda row: {"channel": Channel.EMAIL if row.n % 4 else None, "method": METHODS[row.n % 3]},
    "opted_in": lambda _: {"channel": Channel.EMAIL},
    "consent_given": _consent,
    "consent_withdrawn": lambda _: {"purpose": "recruiting", "method": "web_form"},
    "basis_recorded": lambda _: {"basis": Basis.LEGITIMATE_INTEREST, "lia": "LIA-2025-03"},
    "notice_given": lambda _: {"article": "14", "notice_version": "2025-06"},
    "event_attended": lambda row: {"event": MEETINGS[row.n // 5 % len(MEETINGS)]},
    "preferences_updated": lambda row: {"preferences": f"{FAMILIES[row.n % 5]}, once a month"},
    "applied": _application,
    "stage_changed": _application,
    "rejected": _application,
    "hired": _application,
    "merged": _into,
    "unmerged": _into,
    "created": lambda row: {"name": f"Pool {row.n}", "rule": _rule(row.n)},
    "rule_changed": lambda row: {"rule": _rule(row.n + 1)},
    "candidate_pinned": _member,
    "candidate_excluded": _member,
}
"""What an event says, by its type."""
