"""A consent trail with the field names of ISO/IEC TS 27560:2023 (consent record) and the terms of W3C DPV 2.

One record a purpose. What the standard has no field for (the ledger's position and time, the channel) stands beside its
fields under names of our own; what we do not know is left out rather than made up.
"""

from typing import Any

from domain.candidate import (
    CandidateEvent,
    ConsentGiven,
    ConsentRefused,
    ConsentRequested,
    ConsentWithdrawn,
    OptedIn,
    OptedOut,
)
from domain.consent import Standing, Status
from domain.policy import Basis
from domain.trail import Step, Trail

SCHEMA_VERSION = "ISO/IEC TS 27560:2023"
CONTEXT = {"dpv": "https://w3id.org/dpv#", "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#"}

EVENT_STATES: dict[type[CandidateEvent], str] = {
    ConsentRequested: "dpv:ConsentRequested",
    ConsentGiven: "dpv:ConsentGiven",
    ConsentRefused: "dpv:ConsentRefused",
    ConsentWithdrawn: "dpv:ConsentWithdrawn",
    OptedOut: "dpv:ConsentWithdrawn",
    OptedIn: "dpv:RenewedConsentGiven",
}
"""DPV, consent status. An opt-out is more than a withdrawal; the right that was used stands beside it."""
STATES: dict[str, str] = {
    Status.CONSENT: "dpv:ConsentGiven",
    Status.WITHDRAWN: "dpv:ConsentWithdrawn",
    Status.OPTED_OUT: "dpv:ConsentWithdrawn",
    Status.EXPIRED: "dpv:ConsentExpired",
    Status.RESTRICTED: "dpv:ConsentStatusInvalidForProcessing",
    Status.CONSENT_MISSING: "dpv:ConsentStatusInvalidForProcessing",
    Status.NO_BASIS: "dpv:ConsentUnknown",
}
LAWFUL_BASES: dict[str, str] = {
    Status.CONSENT: "eu-gdpr:A6-1-a",
    Basis.CONSENT: "eu-gdpr:A6-1-a",
    Basis.CONTRACT: "eu-gdpr:A6-1-b",
    Basis.LEGAL_OBLIGATION: "eu-gdpr:A6-1-c",
    Basis.VITAL_INTEREST: "eu-gdpr:A6-1-d",
    Basis.PUBLIC_TASK: "eu-gdpr:A6-1-e",
    Basis.LEGITIMATE_INTEREST: "eu-gdpr:A6-1-f",
}
RIGHTS = {"art_7_3": "eu-gdpr:A7-3", "art_21": "eu-gdpr:A21"}


def consent_records(found: Trail) -> dict[str, Any]:
    """The records, each with its events in the order in which they happened and the state of each channel."""
    purposes = dict.fromkeys(cell.purpose for cell, _ in found.standing)
    return {
        "@context": CONTEXT,
        "schema_version": SCHEMA_VERSION,
        "as_of": found.as_of.isoformat(),
        "known_at": found.known_at.isoformat() if found.known_at else None,
        "records": [_record(found, purpose) for purpose in purposes],
    }


def _record(found: Trail, purpose: str) -> dict[str, Any]:
    steps = [s for s in found.steps if _concerns(s.recorded.event, purpose)]
    states = [
        _state(str(cell.channel or "*"), standing) for cell, standing in found.standing if cell.purpose == purpose
    ]
    evidence = {name: value for s in steps for name, value in _evidence(s.recorded.event).items()}
    bases = sorted({state["lawful_basis"] for state in states if "lawful_basis" in state})
    told = {
        "purpose": purpose,
        "lawful_basis": bases,
        "collection_method": evidence.get("method"),
        "jurisdictions": [evidence["jurisdiction"]] if "jurisdiction" in evidence else None,
        "privacy_rights": ["eu-gdpr:A7-3", "eu-gdpr:A21"],
    }
    processing = {
        "privacy_notice": evidence.get("notice_version"),
        "language": evidence.get("language"),
        "purposes": [_known(told)],
    }
    return {
        "record_id": f"{found.candidate_id}/{purpose}",
        "pii_principal_id": found.candidate_id,
        "pii_processing": _known(processing),
        "event": [_event(s) for s in steps],
        "state": states,
    }


def _concerns(event: CandidateEvent, purpose: str) -> bool:
    """Whether it is a statement on this purpose; one without a purpose is on each."""
    return type(event) in EVENT_STATES and getattr(event, "purpose", None) in (None, purpose)


def _evidence(event: CandidateEvent) -> dict[str, Any]:
    names = ("method", "jurisdiction", "notice_version", "language")
    return {name: str(value) for name in names if (value := getattr(event, name, None)) is not None}


def _event(step: Step) -> dict[str, Any]:
    recorded = step.recorded
    event = recorded.event
    expires_at = getattr(event, "expires_at", None)
    right = getattr(event, "right", None)
    described = {
        "event_time": event.occurred_at.isoformat(),
        "event_type": event.type,
        "event_state": EVENT_STATES[type(event)],
        "entity_id": event.actor,
        "validity_duration": _duration(event.occurred_at, expires_at) if expires_at is not None else None,
        "privacy_right": RIGHTS.get(str(right)),
        "wording_hash": getattr(event, "wording_hash", None),
        "channel": event.channel,
        "recorded_time": recorded.recorded_at.isoformat(),
        "seq": recorded.seq,
    }
    return _known(described | _evidence(event))


def _duration(begin: Any, end: Any) -> str:
    """ISO 8601, in seconds: months are of no fixed length."""
    return f"PT{max(0, int((end - begin).total_seconds()))}S"


def _state(channel: str, standing: Standing) -> dict[str, Any]:
    status = str(standing.status)
    described = {
        "channel": channel,
        "event_state": STATES.get(status, "dpv:ConsentUnknown"),
        "lawful_basis": LAWFUL_BASES.get(status),
        "contactable": standing.contactable,
        "status": status,
        "because_seq": standing.because_seq,
    }
    return _known(described)


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
