"""Greenhouse Recruiting (developers.greenhouse.io/webhooks.html).

`Signature: sha256 <hex>` is the HMAC of the body; no time is signed, and `Greenhouse-Event-ID` is a header that nobody
signs. So nothing of an id is taken from outside the body: it is made of what happened, to which application, in which
stage, when. A delivery is tried seven times over 15 hours.

Merging, deleting, anonymising and updating have no time: theirs is when the delivery came, which is no part of the id.
`delete_candidate` is a merge where only that hook is set up, and never a request to erase. `candidate_anonymized` is
what a rule or a recruiter did to the copy in Greenhouse: nobody asked anything of Rapport, so it is kept and shown, for
a compliance officer to decide.

`can_email` false is an opt-out from email, stated again by each delivery that says so, one of a deletion as well: where
only that hook is set up, a merge is told by it. It is how things stood when the delivery was made, whatever became of
an application before; so its time is when the delivery came. It is told for each
address, whatever else of the delivery can be read; everything else is told by the first address.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from consumers.webhooks import payload
from consumers.webhooks.delivery import Delivery, Happening, Refused, Unreadable
from consumers.webhooks.payload import at

TIMES = {
    "new_candidate_application": "applied_at",
    "new_prospect_application": "applied_at",
    "application_updated": "last_activity_at",
    "candidate_stage_change": "last_activity_at",
    "unreject_candidate": "last_activity_at",
    "unhire_candidate": "last_activity_at",
    "reject_candidate": "rejected_at",
    "hire_candidate": "resolved_at",
}
"""What happens to an application, and the field of it, or of its offer, that says when."""
NEW = {"new_candidate_application", "new_prospect_application"}
TO_A_STAGE = {"candidate_stage_change", "unreject_candidate", "unhire_candidate"}
ENDS = {"reject_candidate": "rejected", "hire_candidate": "hired"}
PEOPLE = {"update_candidate": "candidate", "merge_candidate": "person"}
LEFT = {
    *("ping", "delete_candidate", "delete_application", "interview_deleted", "scorecard_deleted"),
    *("offer_created", "offer_approved", "offer_updated", "offer_deleted", "department_deleted", "office_deleted"),
    *("job_created", "job_deleted", "job_updated", "job_approved", "job_interview_stage_deleted"),
    *("job_post_created", "job_post_updated", "job_post_deleted"),
}
"""What is none of Rapport's events."""


class Greenhouse:
    """An applicant tracking system."""

    name = "greenhouse"

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG002 - no time is signed
        """See `consumers.webhooks.delivery.Provider`."""
        algorithm, _, signature = delivery.headers.get("signature", "").partition(" ")
        if algorithm != "sha256" or not payload.proves(delivery.body, signature, secrets):
            raise Refused("signature", "the header Signature is not by a secret of this provider")

    def read(self, delivery: Delivery) -> list[Happening]:
        """See `consumers.webhooks.delivery.Provider`."""
        body = payload.document(delivery.body)
        kind = payload.word(body, "action")
        if kind in TIMES:
            application = payload.member(payload.member(body, "payload"), "application")
            out = self._opt_outs(kind, payload.member(application, "candidate"), delivery, _of(kind, application))
            told = payload.readable(kind, lambda: self._application(kind, application, delivery.received_at), out)
            return (told + out if kind in NEW else out + told) or [Happening(kind)]
        if kind in PEOPLE:
            person = payload.member(payload.member(body, "payload"), PEOPLE[kind])
            came, id_ = payload.instant(None, delivery.received_at), [str(person.get("id") or "")]
            if kind == "merge_candidate":
                id_.append(str(person.get("new_candidate_id") or ""))
            out = self._opt_outs(kind, person, delivery, id_)
            told = payload.readable(kind, lambda: self._person(kind, person, came), out)
            return (out + told if kind == "merge_candidate" else told + out) or [Happening(kind)]
        if kind == "delete_candidate" and isinstance(person := at(body, "payload", "person"), dict):
            return self._opt_outs(kind, person, delivery, [str(person.get("id") or "")]) or [Happening(kind)]
        return [Happening(kind, known=kind in LEFT)]

    def _application(self, kind: str, application: dict[str, Any], came: datetime) -> list[Happening]:
        candidate, stage = payload.member(application, "candidate"), application.get("current_stage")
        written = application.get(TIMES[kind]) or at(application, "offer", TIMES[kind])
        time = payload.instant(written, came)
        id_: tuple[str, ...] = (kind, payload.key(application, "id"))
        where = {
            "job": payload.named(at(application, "jobs", 0) or application.get("job"), "name"),
            "stage": payload.named(stage, "name"),
        }
        if kind in NEW:
            told = [self._sourced(kind, candidate, time), *self._tags(kind, candidate, time)]
            if application.get("prospect") is not True and kind == "new_candidate_application":
                told.append(self._told(kind, "applied", candidate, time, id_, **where))
            return told
        id_ = (kind, *_of(kind, application))
        told = []
        if kind in TO_A_STAGE and where["stage"] is not None:
            told.append(self._told(kind, "stage_changed", candidate, time, id_, **where))
        elif kind in ENDS:
            reason = payload.line(at(application, "rejection_reason", "name"))
            told.append(self._told(kind, ENDS[kind], candidate, time, id_, **where, reason=reason))
        return told

    def _person(self, kind: str, person: dict[str, Any], came: datetime) -> list[Happening]:
        id_: tuple[str, ...] = (kind, payload.key(person, "id"))
        if kind == "update_candidate":
            return self._tags(kind, person, came)
        id_ = (*id_, payload.key(person, "new_candidate_id"))
        return [self._told(kind, "merged", person, came, id_, into=payload.person(self.name, id_[-1]))]

    def _sourced(self, kind: str, candidate: dict[str, Any], otherwise: datetime) -> Happening:
        """The candidate's coming, which is one and the same for every application of theirs."""
        fields = {"first_name": "first_name", "last_name": "last_name", "employer": "company", "headline": "title"}
        data = {ours: payload.line(candidate.get(theirs)) for ours, theirs in fields.items()}
        time, id_ = payload.instant(candidate.get("created_at"), otherwise), payload.key(candidate, "id")
        return self._told(kind, "sourced", candidate, time, ("candidate", id_), **data)

    def _tags(self, kind: str, candidate: dict[str, Any], time: datetime) -> list[Happening]:
        """The tags there are. Greenhouse does not say which are new; each is told of once."""
        found, id_ = candidate.get("tags"), payload.key(candidate, "id")
        tags = dict.fromkeys(payload.line(tag) for tag in (found if isinstance(found, list) else []))
        return [self._told(kind, "tagged", candidate, time, ("tag", id_, tag), tag=tag) for tag in tags if tag]

    def _opt_outs(
        self, kind: str, candidate: dict[str, Any], delivery: Delivery, id_: Sequence[str]
    ) -> list[Happening]:
        if candidate.get("can_email") is not False:
            return []
        try:
            key = payload.key(candidate, "id")
        except Unreadable:
            key = None
        time, of = payload.instant(None, delivery.received_at), ["can_email", kind, *id_]
        return [
            payload.told(
                *(self.name, kind, "opted_out", who, time, of if n == 0 else [*of, who["email"]]),
                channel="email",
                method="ats",
            )
            for n, who in enumerate(payload.people(self.name, key, *_emails(candidate)))
        ]

    def _told(
        self, kind: str, type_: str, candidate: dict[str, Any], time: datetime, id_: Sequence[str], **data: Any
    ) -> Happening:
        who = payload.person(self.name, payload.key(candidate, "id"), *_emails(candidate))
        return payload.told(self.name, kind, type_, who, time, id_, **data)


def _of(kind: str, application: dict[str, Any]) -> list[str]:
    """What tells a happening to an application from any other of its kind."""
    if kind in NEW:
        return [str(application.get("id") or "")]
    written = application.get(TIMES[kind]) or at(application, "offer", TIMES[kind])
    ids = (at(application, "current_stage", "id"), at(application, "offer", "id"))
    return [str(part or "") for part in (application.get("id"), written, *ids)]


def _emails(candidate: dict[str, Any]) -> list[Any]:
    found = candidate.get("email_addresses")
    return [at(email, "value") for email in (found if isinstance(found, list) else [])]


PROVIDER = Greenhouse()
