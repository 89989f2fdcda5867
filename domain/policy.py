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
