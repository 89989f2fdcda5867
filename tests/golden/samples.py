"""One full example of every event type: every field set, so that the golden files show the whole stored form."""

from datetime import UTC, datetime

from domain import candidate, pool
from domain.event import Event
from domain.policy import (
    ActorKind,
    Basis,
    Channel,
    ErasureGround,
    OptOutMethod,
    RequestKind,
    RequestOutcome,
    RestrictionGround,
    Right,
    Seniority,
)
from domain.rule import Rule

ENVELOPE = {
    "occurred_at": datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
    "actor_kind": ActorKind.USER,
    "actor": "user:recruiter-7",
    "source": "sendgrid",
    "correlation": "0f" * 16,
    "interaction": "sendgrid:ZGVsaXZlcmVk",
}
ON_CANDIDATE = ENVELOPE | {"channel": Channel.EMAIL, "identifiers": ("email:ada@example.com",)}
PROFILE = {
    "first_name": "Ada",
    "last_name": "Lovelace",
    "headline": "Analyst",
    "employer": "Analytical Engines",
    "location": "London, United Kingdom",
    "skills": ("mathematics", "python"),
    "seniority": Seniority.PRINCIPAL,
    "role_family": "data",
    "jurisdiction": "GB",
}
CONTACT = {"message": "m-123", "campaign": "spring"}
DELIVERY = CONTACT | {"machine": False, "url": "https://jobs.example.com/1"}
EVIDENCE = {"notice_version": "2025-06", "wording_hash": "sha256:0f0f0f0f", "method": "web_form", "language": "en-GB"}
RULE = Rule.model_validate(
    {
        "all": [{"tag": "python"}, {"contactable": {"channel": "email"}}],
        "any": [{"location": "Berlin"}, {"source": "linkedin"}, {"skill": "go"}, {"role_family": "data"}],
        "none": [{"seniority": "intern"}],
    }
)
APPLICATION = {"job": "Backend engineer, Berlin", "stage": "interview", "reason": "Ada asked for remote work"}
ASKED = EVIDENCE | {"jurisdiction": "GB"}
OTHER = "ab" * 16
MATTER = "cd" * 16

_BEFORE = ON_CANDIDATE | EVIDENCE | {"purpose": "open_tracking"}
_ERASED = ON_CANDIDATE | {
    "erasure": "ef" * 16,
    "ground": ErasureGround.OBJECTION,
    "request": MATTER,
    "bodies": ((12, "sha256:0f0f0f0f"), (13, "sha256:f0f0f0f0")),
}
READ_AS: dict[str, Event] = {
    "candidate.consent_given.v1": candidate.ConsentGiven(**_BEFORE, expires_at=datetime(2027, 3, 1, tzinfo=UTC)),
    "candidate.consent_withdrawn.v1": candidate.ConsentWithdrawn(**_BEFORE),
    "candidate.erased.v1": candidate.Erased(**_ERASED),
}
"""What an older golden file (`<kind>.<type>.v<n>`) is read as, where that is not the sample of the newest version."""


def samples() -> dict[str, Event]:
    """Events by `<kind>.<type>`."""
    on = ON_CANDIDATE
    made: list[Event] = [
        candidate.Sourced(**on, **PROFILE),
        candidate.ProfileCorrected(**on, **PROFILE),
        candidate.Tagged(**on, tag="python"),
        candidate.Untagged(**on, tag="python"),
        candidate.Emailed(**on, **CONTACT, purpose="recruiting", template="hello-2"),
        candidate.Messaged(**on, **CONTACT, purpose="recruiting", template="hello-2"),
        candidate.Delivered(**on, **DELIVERY),
        candidate.Opened(**on, **DELIVERY),
        candidate.Clicked(**on, **DELIVERY),
        candidate.Bounced(**on, **CONTACT, kind="hard"),
        candidate.Complained(**on, **CONTACT),
        candidate.Replied(**on, **CONTACT, text="Tell me more – José 😀"),
        candidate.EventAttended(**on, event="Open day 2026"),
        candidate.ConsentGiven(**on, **ASKED, purpose="open_tracking", expires_at=datetime(2027, 3, 1, tzinfo=UTC)),
        candidate.ConsentWithdrawn(**on, **ASKED, purpose="open_tracking"),
        candidate.OptedOut(**on, purpose="recruiting", method=OptOutMethod.ONE_CLICK, right=Right.OBJECTION),
        candidate.OptedIn(**on, purpose="recruiting", method="web_form", evidence="signed form 12"),
        candidate.BasisRecorded(**on, purpose="recruiting", basis=Basis.LEGITIMATE_INTEREST, lia="LIA-2025-03"),
        candidate.NoticeGiven(**on, article="14", notice_version="2025-06"),
        candidate.Merged(**on, into=OTHER),
        candidate.Unmerged(**on, into=OTHER),
        candidate.PreferencesUpdated(**on, preferences="data roles in London, no agencies"),
        candidate.Applied(**on, **APPLICATION),
        candidate.StageChanged(**on, **APPLICATION),
        candidate.Rejected(**on, **APPLICATION),
        candidate.Hired(**on, **APPLICATION),
        candidate.ConsentRequested(**on, **ASKED, purpose="open_tracking"),
        candidate.ConsentRefused(**on, **ASKED, purpose="open_tracking"),
        candidate.Restricted(**on, ground=RestrictionGround.ACCURACY_CONTESTED, request=MATTER),
        candidate.RestrictionLifted(**on, informed_at=datetime(2026, 2, 28, tzinfo=UTC), request=MATTER),
        candidate.RequestReceived(**on, request=MATTER, asks_for=RequestKind.ACCESS, details="everything on Ada"),
        candidate.RequestExtended(**on, request=MATTER, reason="complexity", explanation="three systems to ask"),
        candidate.RequestClosed(**on, request=MATTER, outcome=RequestOutcome.REFUSED, explanation="not Ada's own data"),
        candidate.RecipientNotified(**on, recipient="greenhouse", about="erasure", acknowledged=True, request=MATTER),
        candidate.Erased(
            **_ERASED,
            envelopes=(
                (1, "sourced", datetime(2026, 2, 1, 8, 0, 0, 123456, tzinfo=UTC)),
                (2, "tagged", datetime(2026, 2, 2, tzinfo=UTC)),
            ),
        ),
        pool.Created(**ENVELOPE, name="Berlin backend", description="People in Berlin", rule=RULE),
        pool.RuleChanged(**ENVELOPE, rule=RULE),
        pool.CandidatePinned(**ENVELOPE, candidate=OTHER),
        pool.CandidateUnpinned(**ENVELOPE, candidate=OTHER),
        pool.CandidateExcluded(**ENVELOPE, candidate=OTHER),
        pool.Archived(**ENVELOPE),
    ]
    kinds = {candidate.CandidateEvent: candidate.KIND, pool.PoolEvent: pool.KIND}
    return {f"{next(k for c, k in kinds.items() if isinstance(e, c))}.{e.type}": e for e in made}
