"""Made-up histories: people who do not exist, treated as real ones are.

The same seed gives the same records, as interactions in the order in which they happened. Addresses end in
`example.com`, `.org` or `.net` (RFC 2606), so that nothing made here can reach anybody.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

DEFAULT_CANDIDATES = 2_000
LAST_MOMENT = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = 540

Record = dict[str, Any]

_FIRST = [
    *("Ada", "Grace", "Linus", "Margaret", "Edsger", "Barbara", "Alan", "Radia"),
    *("Donald", "Frances", "Ken", "Sophie", "Tim", "Hedy", "Niklaus", "Karen"),
]
_LAST = [
    *("Lovelace", "Hopper", "Torvalds", "Hamilton", "Dijkstra", "Liskov", "Turing"),
    *("Perlman", "Knuth", "Allen", "Thompson", "Wilson", "Berners"),
]
_FAMILIES = {
    "backend": ("Backend engineer", ["python", "go", "postgres", "kafka", "duckdb"]),
    "frontend": ("Frontend engineer", ["typescript", "react", "css", "accessibility"]),
    "data": ("Data analyst", ["sql", "python", "dbt", "statistics"]),
    "people": ("HR business partner", ["hiring", "labour law", "coaching"]),
    "sales": ("Account executive", ["negotiation", "saas", "crm"]),
}
_PLACES = [
    ("Berlin, Germany", "DE"),
    ("Paris, France", "FR"),
    ("London, United Kingdom", "GB"),
    ("Lyon, France", "FR"),
    ("Hamburg, Germany", "DE"),
    ("Madrid, Spain", "ES"),
]
_SOURCES = ["linkedin", "referral", "career_site", "meetup", "github", "agency"]
_SENIORITIES = ["intern", "junior", "mid", "senior", "senior", "lead", "principal"]
_STAGES = ["screening", "interview", "offer"]
_REASONS = ["salary", "somebody else was a better fit", "wants to stay remote", "took another offer"]
_PREFERENCES = ["remote roles only", "a letter a month is enough", "senior roles in Berlin", "events, no openings"]
_LINKS = [f"https://jobs.example.com/{n}" for n in (1, 2, 3)]
_CAMPAIGNS = ["spring-backend", "summer-meetup", "autumn-newsletter", "winter-data"]


def generate(candidates: int, seed: int, until: datetime = LAST_MOMENT) -> Iterator[Record]:
    """Interactions of `candidates` people over the `DAYS` days before `until`, in order of time."""
    chance = random.Random(seed)  # noqa: S311 - made-up people need no secrecy
    records: list[Record] = []
    for number in range(candidates):
        records.extend(
            r
            for r in _Person(number, chance, until).history()
            if r["occurred_at"] <= until.isoformat(timespec="milliseconds")
        )
    records.sort(key=lambda r: (r["occurred_at"], r["id"]))
    yield from records


class _Person:
    """One life in a recruiter's database."""

    def __init__(self, number: int, chance: random.Random, until: datetime) -> None:
        self.number = number
        self.chance = chance
        self.clock = until - timedelta(days=chance.uniform(20, DAYS))
        self.steps = 0
        self.first, self.last = chance.choice(_FIRST), chance.choice(_LAST)
        self.email = f"{self.first}.{self.last}.{number}@example.{chance.choice(['com', 'org', 'net'])}".lower()
        self.family = chance.choice(list(_FAMILIES))
        self.hired = False

    def history(self) -> Iterator[Record]:
        """Sourced, told, written to, and what came of it."""
        yield from self._arrival()
        for _ in range(self.chance.choice([0, 1, 1, 2, 2, 3])):
            if not self.hired:
                yield from self._campaign()
        yield from self._decisions()
        if self.chance.random() < 0.03:
            yield from self._second_record()

    def _arrival(self) -> Iterator[Record]:
        title, skills = _FAMILIES[self.family]
        place, country = self.chance.choice(_PLACES)
        seniority = self.chance.choice(_SENIORITIES)
        known = self.chance.sample(skills, k=self.chance.randint(1, 3))
        yield self._record(
            "sourced",
            source=self.chance.choice(_SOURCES),
            data={
                "first_name": self.first,
                "last_name": self.last,
                "headline": f"{seniority.capitalize()} {title.lower()}",
                "location": place,
                "skills": known,
                "seniority": seniority,
                "role_family": self.family,
                "jurisdiction": country,
            },
        )
        for skill in known[: self.chance.randint(0, 2)]:
            yield self._record("tagged", days=0.01, actor="user:recruiter-7", data={"tag": skill})
        if self.chance.random() < 0.85:
            yield self._record("basis_recorded", days=0.01, data={"basis": "legitimate_interest", "lia": "LIA-2025-03"})
        if self.chance.random() < 0.9:
            yield self._record("notice_given", days=3, data={"article": "14", "notice_version": "2025-06"})
        if self.chance.random() < 0.35:
            yield self._consent("open_tracking", days=1)
        if self.chance.random() < 0.15:
            yield self._consent("recruiting", days=1)

    def _consent(self, purpose: str, days: float) -> Record:
        data = {"purpose": purpose, "notice_version": "2025-06", "method": "web_form", "language": "en"}
        return self._record("consent_given", days=days, actor="candidate:self", data=data)

    def _campaign(self) -> Iterator[Record]:
        message = f"m-{self.number}-{self.steps}"
        about = {"message": message, "campaign": self.chance.choice(_CAMPAIGNS)}
        yield self._record("emailed", days=self.chance.expovariate(1 / 30), actor="user:recruiter-7", data=about)
        if self.chance.random() < 0.04:
            kind = self.chance.choice(["hard", "soft"])
            yield self._fact("bounced", days=0.001, data=about | {"kind": kind})
            return
        yield self._fact("delivered", days=0.00002, data=about)
        if self.chance.random() < 0.03:
            yield from self._scanned(about)
        if self.chance.random() < 0.3:
            yield self._fact("opened", days=0.00001, data=about | {"machine": True})
        if self.chance.random() < 0.5:
            yield self._fact("opened", days=self.chance.expovariate(1), data=about | {"machine": False})
            if self.chance.random() < 0.4:
                link = about | {"machine": False, "url": self.chance.choice(_LINKS)}
                yield self._fact("clicked", days=0.001, data=link)
            if self.chance.random() < 0.3:
                yield self._fact("replied", days=0.2, actor="candidate:self", data=about | {"text": "Tell me more."})
                if self.chance.random() < 0.4:
                    place = self.chance.choice(_PLACES)[0].partition(",")[0]
                    yield from self._application({"job": f"{_FAMILIES[self.family][0]}, {place}"})
        if self.chance.random() < 0.01:
            yield self._fact("complained", days=0.1, actor="candidate:self", data=about)

    def _scanned(self, about: Record) -> Iterator[Record]:
        """A mail gateway follows every link within a second, and the provider does not notice. Some gateways hold the
        message back for a while first."""
        held_s = self.chance.choice([0.1, 0.1, 0.1, 40.0])
        for n, link in enumerate(_LINKS):
            yield self._fact("clicked", days=(0.15 if n else held_s) / 86_400, data=about | {"url": link})

    def _application(self, about: Record) -> Iterator[Record]:
        """Applied, and how far it went; some are still open."""
        yield self._record("applied", days=2, actor="candidate:self", source="greenhouse", channel="web", data=about)
        for stage in _STAGES:
            if self.chance.random() < 0.1:
                return
            about = about | {"stage": stage}
            yield self._tracked("stage_changed", about)
            if self.chance.random() < 0.35:
                yield self._tracked("rejected", about | {"reason": self.chance.choice(_REASONS)})
                return
        yield self._tracked("hired", about)
        self.hired = True

    def _decisions(self) -> Iterator[Record]:
        if self.chance.random() < 0.15:
            data = {"event": self.chance.choice(["Open day 2026", "Data meetup"])}
            yield self._record("event_attended", days=9, actor="candidate:self", data=data)
        if self.chance.random() < 0.1:
            data = {"preferences": self.chance.choice(_PREFERENCES)}
            yield self._record("preferences_updated", days=4, actor="candidate:self", channel="web", data=data)
        if not self.hired and self.chance.random() < 0.02:
            yield from self._application({})
        if self.chance.random() < 0.08:
            method = self.chance.choice(["one_click", "link", "reply"])
            yield self._record("opted_out", days=5, actor="candidate:self", channel="email", data={"method": method})
            if self.chance.random() < 0.25:
                yield self._record("opted_in", days=40, actor="candidate:self", channel="email")
        elif self.chance.random() < 0.03:
            yield self._record("consent_withdrawn", days=5, actor="candidate:self", data={"purpose": "recruiting"})
        elif self.chance.random() < 0.02:
            yield self._record("opted_out", days=5, actor="candidate:self", data={"method": "phone"})

    def _second_record(self) -> Iterator[Record]:
        """The same person once more, found later and merged, sometimes by mistake."""
        other = {"ref": f"greenhouse:{10_000 + self.number}"}
        name = {"first_name": self.first, "last_name": self.last}
        yield self._record("sourced", days=2, source="greenhouse", data=name) | {"candidate": other}
        into = {"into": {"email": self.email}}
        yield self._record("merged", days=1, actor="user:recruiter-7", data=into) | {"candidate": other}
        if self.chance.random() < 0.2:
            yield self._record("unmerged", days=1, actor="user:recruiter-7") | {"candidate": other}

    def _fact(self, type_: str, **given: Any) -> Record:
        return self._record(type_, **({"actor": "system:sendgrid", "source": "sendgrid", "channel": "email"} | given))

    def _tracked(self, type_: str, about: Record) -> Record:
        days = self.chance.expovariate(1 / 6)
        return self._record(type_, days=days, actor="service:greenhouse", source="greenhouse", data=about)

    def _record(self, type_: str, *, days: float = 0.0, **given: Any) -> Record:
        """The next thing that happens, `days` later."""
        self.steps += 1
        self.clock += timedelta(days=days, milliseconds=1)
        return {
            "id": f"made-up:{self.number}:{self.steps}",
            "type": type_,
            "candidate": {"email": self.email},
            "occurred_at": self.clock.isoformat(timespec="milliseconds"),
            "source": "crm",
            "actor": "system:made-up",
            "data": {},
        } | given
