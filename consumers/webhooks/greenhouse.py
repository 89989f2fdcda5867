"""Greenhouse Recruiting (developers.greenhouse.io/webhooks.html).

`Signature: sha256 <hex>` is the HMAC of the body; no time is signed, and `Greenhouse-Event-ID` is a header that nobody
signs. So nothing of an id is taken from outside the body: it is made of what happened, to which application, in which
stage, when. A delivery is tried seven times over 15 hours.

Merging, deleting, anonymising and updating have no time: theirs is when the delivery came, which is no part of the id.
`delete_candidate` is a merge where only that hook is set up, and never a request to erase. `candidate_anonymized` is
what a rule or a recruiter did to the copy in Greenhouse: nobody asked anything of Rapport, so it is kept and shown, for
a compliance officer to decide. `can_email` false is an opt-out from email, stated again by each delivery that says so.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from consumers.webhooks import payload
from consumers.webhooks.delivery import Delivery, Happening, Refused
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
    untimed = True

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
            return self._application(kind, application, delivery.received_at) or [Happening(kind)]
        if kind in PEOPLE:
            person = payload.member(payload.member(body, "payload"), PEOPLE[kind])
            return self._person(kind, person, payload.instant(None, delivery.received_at)) or [Happening(kind)]
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
            return [*told, *self._opt_out(kind, candidate, time, id_)]
        id_ = (*id_, *(str(part or "") for part in (written, at(stage, "id"), at(application, "offer", "id"))))
        told = self._opt_out(kind, candidate, time, id_)
        if kind in TO_A_STAGE and where["stage"] is not None:
            told.append(self._told(kind, "stage_changed", candidate, time, id_, **where))
        elif kind in ENDS:
            reason = payload.line(at(application, "rejection_reason", "name"))
            told.append(self._told(kind, ENDS[kind], candidate, time, id_, **where, reason=reason))
        return told

    def _person(self, kind: str, person: dict[str, Any], came: datetime) -> list[Happening]:
        id_: tuple[str, ...] = (kind, payload.key(person, "id"))
        if kind == "update_candidate":
            return [*self._tags(kind, person, came), *self._opt_out(kind, person, came, id_)]
        id_ = (*id_, payload.key(person, "new_candidate_id"))
        merged = self._told(kind, "merged", person, came, id_, into=payload.person(self.name, id_[-1]))
        return [*self._opt_out(kind, person, came, id_), merged]

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

    def _opt_out(self, kind: str, candidate: dict[str, Any], time: datetime, id_: tuple[str, ...]) -> list[Happening]:
        if candidate.get("can_email") is not False:
            return []
        of = ("can_email", *id_)
        return [self._told(kind, "opted_out", candidate, time, of, channel="email", method="ats")]

    def _told(
        self, kind: str, type_: str, candidate: dict[str, Any], time: datetime, id_: Sequence[str], **data: Any
    ) -> Happening:
        found = candidate.get("email_addresses")
        emails = [at(email, "value") for email in (found if isinstance(found, list) else [])]
        who = payload.person(self.name, payload.key(candidate, "id"), *emails)
        return payload.told(self.name, kind, type_, who, time, id_, **data)


PROVIDER = Greenhouse()
