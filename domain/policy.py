"""Every limit and enumeration that is a decision rather than a fact, in one place; weights are in `engagement`."""

from datetime import timedelta
from enum import StrEnum

MAX_CLOCK_AHEAD = timedelta(hours=24)
"""`occurred_at` further ahead of the node's clock than this is refused."""

DEFAULT_PURPOSE = "recruiting"
OPEN_TRACKING = "open_tracking"
"""Opens are measured only with a basis of their own (CNIL deliberation 2026-042)."""

APPEND_ATTEMPTS = 10
"""How often a command is decided again after losing a race for its aggregate."""


class Channel(StrEnum):
    """Ways to reach a person. Closed, so that it may stand outside the encrypted block."""

    EMAIL = "email"
    PHONE = "phone"
    SMS = "sms"
    WHATSAPP = "whatsapp"
    LINKEDIN = "linkedin"
    POST = "post"
    IN_PERSON = "in_person"
    WEB = "web"


class Seniority(StrEnum):
    """Career levels."""

    INTERN = "intern"
    JUNIOR = "junior"
    MID = "mid"
    SENIOR = "senior"
    LEAD = "lead"
    PRINCIPAL = "principal"
    MANAGER = "manager"
    DIRECTOR = "director"
    EXECUTIVE = "executive"


class Basis(StrEnum):
    """Lawful bases of Art. 6(1) GDPR, in W3C DPV's words."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    VITAL_INTEREST = "vital_interest"
    PUBLIC_TASK = "public_task"
    LEGITIMATE_INTEREST = "legitimate_interest"


class Right(StrEnum):
    """The right a person used: withdrawal of consent (Art. 7(3)) or objection (Art. 21)."""

    WITHDRAWAL = "art_7_3"
    OBJECTION = "art_21"


class RequestKind(StrEnum):
    """What a data subject may ask for, by the article of the GDPR that gives the right."""

    ACCESS = "access"  # Art. 15
    RECTIFICATION = "rectification"  # Art. 16
    ERASURE = "erasure"  # Art. 17
    RESTRICTION = "restriction"  # Art. 18
    PORTABILITY = "portability"  # Art. 20
    OBJECTION = "objection"  # Art. 21


class RequestOutcome(StrEnum):
    """How a request ended."""

    FULFILLED = "fulfilled"
    REFUSED = "refused"  # Art. 12(4), 12(5)
    WITHDRAWN = "withdrawn"


class RestrictionGround(StrEnum):
    """Why data is stored but not used: Art. 18(1)(a) to (d) GDPR."""

    ACCURACY_CONTESTED = "accuracy_contested"
    UNLAWFUL = "unlawful"
    NEEDED_FOR_CLAIMS = "needed_for_claims"
    OBJECTION_PENDING = "objection_pending"


class ErasureGround(StrEnum):
    """Why data is erased: Art. 17(1)(a) to (f) GDPR, and the end of the time for which it may be kept."""

    NO_LONGER_NECESSARY = "no_longer_necessary"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    OBJECTION = "objection"
    UNLAWFUL = "unlawful"
    LEGAL_OBLIGATION = "legal_obligation"
    CHILD = "child"
    RETENTION_ENDED = "retention_ended"  # Art. 5(1)(e)


class OptOutMethod(StrEnum):
    """How an opt-out reached us."""

    ONE_CLICK = "one_click"
    LINK = "link"
    REPLY = "reply"
    COMPLAINT = "complaint"
    PHONE = "phone"
    ATS = "ats"
    RECRUITER = "recruiter"


class ActorKind(StrEnum):
    """Who acted, as far as it may stand in the clear; the full actor is encrypted."""

    CANDIDATE = "candidate"
    USER = "user"
    SERVICE = "service"
    SYSTEM = "system"
