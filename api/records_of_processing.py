"""The records of processing activities (Art. 30(1) GDPR), made of the catalogue of events and of the policy.

python -m api.records_of_processing > docs/records-of-processing.md
"""

import inspect
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from domain.candidate import EVENTS, CandidateEvent
from domain.compliance_policy import Policy, Terms, default_policy
from domain.event import personal_fields
from domain.policy import Basis, RequestKind
from domain.request import ANSWER_WITHIN_MONTHS, EXTENDED_BY_MONTHS

SECURITY = (
    "Personal fields are sealed with AES-256-GCM under a key of each person's own; keys are wrapped by a master key "
    "and kept apart from the ledger (Art. 32(1)(a)).",
    "Erasure destroys the key, the claims and every copy, and is certified (Art. 17).",
    "Subjects, headers, logs, metrics and the feed hold nothing personal; ids are random (Art. 25).",
    "Nothing is acknowledged before it is on disk; the ledger is compared with the mirror, and a lost tail is put back "
    "(Art. 32(1)(b), (c)).",
    "The log of all events is a Merkle tree whose checkpoints are signed; whoever doubts a trail can verify it.",
    "Roles decide what is seen in SQL; reads of personal data are entered in an access log before they are answered.",
    "Findings are looked for by `rapport findings`, which ends with exit code 1 when there are any (Art. 32(1)(d)).",
)
"""Art. 30(1)(g): what Rapport does by itself. What surrounds it is the controller's to add."""


def records(policy: Policy) -> dict[str, Any]:
    """The records as one document, in the order of Art. 30(1)."""
    return {
        "controller": policy.controller.model_dump(),
        "policy_version": policy.version,
        "purposes": [purpose.model_dump() for purpose in policy.purposes],
        "lawful_bases": [basis.value for basis in Basis],
        "data_subjects": ["candidates: people who were sourced, applied, or took part in an event"],
        "recorded_with_every_event": _fields(CandidateEvent, frozenset()),
        "events": [
            {"type": type_, "meaning": _meaning(event)} | _fields(event, frozenset(CandidateEvent.model_fields))
            for type_, event in sorted(EVENTS.items())
        ],
        "recipients": [recipients.model_dump() for recipients in policy.recipients],
        "time_limits": [
            {"jurisdiction": code, "name": own.name, "what": name, "for": field.description}
            | getattr(policy.terms(code), name).model_dump(mode="json")
            for code, own in policy.jurisdictions.items()
            for name, field in Terms.model_fields.items()
            if getattr(own, name) is not None
        ],
        "requests": {
            "kinds": [kind.value for kind in RequestKind],
            "answered_within_months": ANSWER_WITHIN_MONTHS,
            "extended_by_months": EXTENDED_BY_MONTHS,
            "source": "Art. 12(3) GDPR",
        },
        "security": list(SECURITY),
    }


def _meaning(event: type[CandidateEvent]) -> str:
    return " ".join((inspect.getdoc(event) or "").partition("\n\n")[0].split())


def _fields(event: type[CandidateEvent], without: frozenset[str]) -> dict[str, list[str]]:
    """Names of the fields: those that are personal, which are sealed, and the others, which are not."""
    personal = personal_fields(event)
    names = [name for name in event.model_fields if name not in without]
    return {
        "personal": [name for name in names if name in personal],
        "other": [name for name in names if name not in personal],
    }


def markdown(found: dict[str, Any]) -> str:
    """The document as a page to read; what `records` gives, or its JSON."""
    every, asked = found["recorded_with_every_event"], found["requests"]
    limits = [
        [
            f"{limit['name']} ({limit['jurisdiction']})",
            limit["for"],
            f"{limit['value']} {limit['what'].rsplit('_', 1)[1]}",
            f"{limit['source']} ({limit['source_date']})",
            f"{limit['looked_up']}: {'confirmed' if limit['confirmed'] else 'not confirmed'}"
            + (f"; {limit['note']}" if limit["note"] else ""),
        ]
        for limit in found["time_limits"]
    ]
    blocks = [
        "# Records of processing activities",
        "Art. 30(1) GDPR. Made by `rapport records-of-processing` from the catalogue of events and the compliance "
        f"policy (version {found['policy_version']}); change the policy (`RAPPORT_POLICY`), not this page.",
        "## Controller (a)",
        _list(f"{name.replace('_', ' ').capitalize()}: {value}" for name, value in found["controller"].items()),
        "## Purposes and bases (b)",
        _table(
            ["purpose", "what for", "basis", "articles"],
            [[p["name"], p["description"], p["basis"], p["articles"]] for p in found["purposes"]],
        ),
        f"Each person's basis is recorded with `basis_recorded` or `consent_given`: {_codes(found['lawful_bases'])}.",
        "## Data subjects and categories of data (c)",
        _list(found["data_subjects"]),
        f"With every event: {_codes(every['personal'])}, which are personal and sealed; {_codes(every['other'])}.",
        _table(
            ["event", "what it says", "personal, sealed", "other"],
            [[f"`{e['type']}`", e["meaning"], _codes(e["personal"]), _codes(e["other"])] for e in found["events"]],
        ),
        "## Recipients and third countries (d, e)",
        _table(
            ["recipients", "what they receive", "third countries"],
            [[r["category"], r["receives"], r["third_countries"]] for r in found["recipients"]],
        ),
        "## Time limits (f)",
        "A jurisdiction without a value has that of EU. A value that was not confirmed is the controller's to check.",
        _table(["jurisdiction", "what", "limit", "source", "looked up"], limits),
        f"Requests ({_codes(asked['kinds'])}) are answered within {asked['answered_within_months']} month, "
        f"{asked['extended_by_months']} more when extended ({asked['source']}).",
        "## Security (g)",
        _list(found["security"]),
    ]
    return "\n\n".join(blocks) + "\n"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def main() -> None:
    """Writes the page to standard output."""
    sys.stdout.write(markdown(records(default_policy())))


if __name__ == "__main__":
    main()
