"""`portable.json`: what the person provided, in a form that another controller can read (Art. 20 GDPR). Pure.

Provided is what somebody gave knowingly, and what was observed of what they did; not what was found elsewhere, noted
by others or derived (WP 242 rev.01 of the Article 29 Working Party, endorsed by the EDPB, section II.3).
"""

from collections.abc import Iterable
from typing import Any

from api.disclosure.events import Opened

FORMAT, VERSION = "rapport-portable", 1

ACTS = frozenset(
    {
        *("replied", "applied", "event_attended", "preferences_updated", "opened", "clicked", "complained"),
        *("consent_given", "consent_refused", "consent_withdrawn", "opted_out", "opted_in", "request_received"),
    }
)
"""What only the person can do, whoever reports it."""

RULE = (
    "In here is what you provided: every event by which you acted yourself, and what was observed of what you did "
    "(replies, applications, events attended, opens and clicks that no machine made, consents, objections, requests). "
    "Not in here, but in person.json and events.ndjson, is what others noted or found about you, and what was derived. "
    "The right to portability is about data that is processed by a computer on the basis of your consent or of a "
    "contract with you (Art. 20(1) GDPR); which purpose rests on what is in person.json under `uses`. Nothing was left "
    "out for resting on another basis."
)

WITHHELD = frozenset({"actor", "actor_kind", "correlation"})
"""Fields that say nothing that the person gave."""

PROFILE = ("first_name", "last_name", "headline", "employer", "location", "skills", "seniority", "role_family")
"""Fields of a profile, in order."""


def provided(event: Opened) -> bool:
    """Whether the person provided it."""
    return event.by_the_person or (event.type in ACTS and event.data.get("machine") is not True)


def portable(candidate: str, events: Iterable[Opened]) -> dict[str, Any]:
    """What of the events the person provided, in the order in which it happened; `profile` is the latest word of
    theirs on each field."""
    given = [e for e in events if provided(e)]
    profile: dict[str, Any] = {}
    for event in given:
        if event.type in ("sourced", "profile_corrected"):
            profile |= {k: v for k, v in event.data.items() if k in PROFILE}
    return {
        "format": FORMAT,
        "version": VERSION,
        "explanation": RULE,
        "candidate": candidate,
        "identifiers": sorted({i for e in given for i in e.data.get("identifiers", ())}),
        "profile": {k: profile[k] for k in PROFILE if k in profile},
        "events": [
            {"type": e.type, "occurred_at": e.occurred_at} | {k: v for k, v in e.data.items() if k not in WITHHELD}
            for e in given
        ],
    }
