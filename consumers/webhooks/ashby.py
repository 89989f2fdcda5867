"""Ashby (developers.ashbyhq.com/docs/setting-up-webhooks, …/docs/authenticating-webhooks, …/docs/related-webhooks).

`Ashby-Signature: sha256=<hex>` is the HMAC of the body; no time is signed. `webhookActionId` is the same over all
retries (ten, within three hours), and over the webhooks that one act sets off: a hire comes as `candidateHire`,
`candidateStageChange` and `applicationUpdate` with one id. What happened is told apart by id and action.

`applicationUpdate` says nothing that has no webhook of its own. A rejection is a change of stage to one that archives.
Neither a merge nor a deletion has a time; a deletion is no request to erase.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from consumers.webhooks import payload
from consumers.webhooks.delivery import Delivery, Happening, Refused
from consumers.webhooks.payload import at

LEFT = {
    *("ping", "applicationUpdate", "candidateDelete", "interviewPlanTransition", "interviewScheduleCreate"),
    *("interviewScheduleUpdate", "jobCreate", "jobUpdate", "jobPostingUpdate", "jobPostingPublish"),
    *("jobPostingUnpublish", "offerCreate", "offerUpdate", "offerDelete", "openingCreate", "pushToHRIS"),
    *("signatureRequestUpdate", "surveySubmit"),
}
"""What is none of Rapport's events."""


class Ashby:
    """An applicant tracking system."""

    name = "ashby"

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG002 - no time is signed
        """See `consumers.webhooks.delivery.Provider`."""
        algorithm, _, signature = delivery.headers.get("ashby-signature", "").partition("=")
        if algorithm != "sha256" or not payload.proves(delivery.body, signature, secrets):
            raise Refused("signature", "the header Ashby-Signature is not by a secret of this provider")

    def read(self, delivery: Delivery) -> list[Happening]:
        """See `consumers.webhooks.delivery.Provider`."""
        body = payload.document(delivery.body)
        action = payload.word(body, "action")
        if action not in ("applicationSubmit", "candidateStageChange", "candidateHire", "candidateMerge"):
            return [Happening(action, known=action in LEFT)]
        id_, data = (payload.key(body, "webhookActionId"), action), payload.member(body, "data")
        came = delivery.received_at
        if action == "candidateMerge":
            duplicate, survivor = (payload.member(data, f"{which}Candidate") for which in ("deleted", "merged"))
            who, into = (payload.person(self.name, payload.key(one, "id")) for one in (duplicate, survivor))
            return [payload.told(self.name, action, "merged", who, payload.instant(None, came), id_, into=into)]
        application = payload.member(data, "application")
        if action == "applicationSubmit":
            return self._submitted(action, application, came, id_)
        time = payload.instant(application.get("updatedAt"), came)
        stage = payload.named(application.get("currentInterviewStage"), "title")
        if action == "candidateHire":
            return [self._told(action, "hired", application, time, id_, stage=stage)]
        if application.get("status") == "Archived":
            time = payload.instant(application.get("archivedAt"), time)
            reason = payload.line(at(application, "archiveReason", "text"))
            return [self._told(action, "rejected", application, time, id_, reason=reason)]
        if stage is None:
            return [Happening(action)]
        return [self._told(action, "stage_changed", application, time, id_, stage=stage)]

    def _submitted(
        self, action: str, application: dict[str, Any], came: datetime, id_: Sequence[str]
    ) -> list[Happening]:
        """The candidate, once, and the application, unless it is a lead: somebody who has not applied."""
        candidate = payload.member(application, "candidate")
        time = payload.instant(application.get("createdAt"), came)
        of, names = ("candidate", payload.key(candidate, "id")), _names(candidate.get("name"))
        sourced = payload.told(self.name, action, "sourced", self._person(application), time, of, **names)
        if application.get("status") == "Lead":
            return [sourced]
        stage = payload.named(application.get("currentInterviewStage"), "title")
        return [sourced, self._told(action, "applied", application, time, id_, stage=stage)]

    def _person(self, application: dict[str, Any]) -> dict[str, str]:
        candidate = payload.member(application, "candidate")
        return payload.person(self.name, payload.key(candidate, "id"), at(candidate, "primaryEmailAddress", "value"))

    def _told(
        self, action: str, type_: str, application: dict[str, Any], time: datetime, id_: Sequence[str], **data: Any
    ) -> Happening:
        job = payload.named(application.get("job"), "title")
        return payload.told(self.name, action, type_, self._person(application), time, id_, job=job, **data)


def _names(name: Any) -> dict[str, str | None]:
    """A whole name in the two fields there are; read together they say what Ashby said."""
    first, _, last = (payload.line(name) or "").rpartition(" ")
    return {"first_name": first or None, "last_name": last or None}


PROVIDER = Ashby()
