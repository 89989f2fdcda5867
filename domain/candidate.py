"""Candidate: one record of a person, as a stream of interactions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from domain import errors
from domain.consent import (
    ANY_PURPOSE,
    OF_EVERY_CELL,
    STATEMENT_TYPES,
    TAKEN_BACK,
    Standing,
    Statement,
    effective_at,
)
from domain.event import Event, HexId, Label, Name, Personal, Purpose, Text, UtcDatetime, catalogue, check_clock
from domain.policy import (
    DEFAULT_PURPOSE,
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
from domain.request import Request, check_extended, check_open, check_received, closed, extended

# ── ids ────────────────────────────────────────────────────────────────────────────────────────────

KIND = "candidate"

Identifier = Annotated[str, Field(min_length=3, max_length=500, pattern=r"^(email|phone|profile|ref):.+$")]
"""A normalised identifier: `email:ada@example.com`, `phone:+44…`, `profile:…`, `ref:greenhouse:123`."""

Jurisdiction = Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2 country code")]
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="BCP 47 tag")]
MAX_SKILLS = 200
WordingHash = Annotated[str, Field(pattern=r"^[0-9A-Za-z:_-]{8,128}$")]
EventType = Annotated[str, Field(pattern=r"^[a-z_]{0,40}$")]
"""A name of the catalogue; empty for what was no event."""

# ── events ─────────────────────────────────────────────────────────────────────────────────────────


class CandidateEvent(Event):
    """An event on a candidate. `identifiers` are those this event newly ties to the candidate."""

    channel: Channel | None = None
    identifiers: Personal[tuple[Identifier, ...]] = ()


class _Profile(CandidateEvent):
    first_name: Personal[Name | None] = None
    last_name: Personal[Name | None] = None
    headline: Personal[Name | None] = None
    employer: Personal[Name | None] = None
    location: Personal[Name | None] = None
    skills: Personal[Annotated[tuple[Name, ...], Field(max_length=MAX_SKILLS)]] = ()
    seniority: Seniority | None = None
    role_family: Personal[Name | None] = None
    jurisdiction: Jurisdiction | None = None


class Sourced(_Profile, type="sourced"):
    """The person came to our attention; `source` says from where."""


class ProfileCorrected(_Profile, type="profile_corrected"):
    """Fields given replace the ones held (Art. 16 GDPR); fields absent stay."""


class Tagged(CandidateEvent, type="tagged"):
    """A tag was put on."""

    tag: Personal[Name]


class Untagged(CandidateEvent, type="untagged"):
    """A tag was taken off."""

    tag: Personal[Name]


class _Contact(CandidateEvent):
    message: Personal[Name | None] = None
    campaign: Label | None = None


class _Outreach(_Contact):
    purpose: Purpose = DEFAULT_PURPOSE
    template: Label | None = None


class Emailed(_Outreach, type="emailed"):
    """We wrote an email to the person."""

    channel: Channel | None = Channel.EMAIL


class Messaged(_Outreach, type="messaged"):
    """We wrote to the person on a channel other than email."""

    channel: Channel | None = Channel.LINKEDIN


class _Delivery(_Contact):
    machine: bool | None = None
    url: Personal[Text | None] = None


class Delivered(_Delivery, type="delivered"):
    """The provider says that the message arrived."""


class Opened(_Delivery, type="opened"):
    """The message was opened; `machine` when the provider knows."""


class Clicked(_Delivery, type="clicked"):
    """A link in the message was followed."""


class Bounced(_Contact, type="bounced"):
    """The message did not arrive: for good (`hard`) or for now (`soft`)."""

    kind: Literal["hard", "soft"]


class Complained(_Contact, type="complained"):
    """The person reported the message as spam; counts as an objection on that channel (Art. 21 GDPR)."""

    channel: Channel | None = Channel.EMAIL


class Replied(_Contact, type="replied"):
    """The person answered."""

    text: Personal[Text | None] = None


class EventAttended(CandidateEvent, type="event_attended"):
    """The person took part in an event of ours."""

    event: Label


class PreferencesUpdated(CandidateEvent, type="preferences_updated"):
    """The person said what they want to hear about. It says nothing on consent: that has events of its own."""

    preferences: Personal[Text | None] = None


class _Application(CandidateEvent):
    """What an applicant tracking system reports of one application: a fact, whatever we think of it.

    `job` is the controller's own name of the opening, the same in all events of one application. Absent: an
    application to no opening in particular, which is one more of the person's applications.
    """

    job: Label | None = None
    stage: Label | None = None
    reason: Personal[Text | None] = None


class Applied(_Application, type="applied"):
    """The person applied, an act of theirs. `job` is absent where they applied on spec; `stage` is the first one."""


class StageChanged(_Application, type="stage_changed"):
    """The application went on, or back, to `stage`."""

    stage: Label


class Rejected(_Application, type="rejected"):
    """The application ended without a hire, whoever ended it; `stage` is the one it had come to."""


class Hired(_Application, type="hired"):
    """The application ended in a hire; `stage` is the one it had come to."""


class _Evidence(CandidateEvent):
    """What shows that somebody was asked, or answered: which text, in which language, how, under whose law."""

    notice_version: Label | None = None
    wording_hash: WordingHash | None = None
    method: Label | None = None
    language: Language | None = None
    jurisdiction: Jurisdiction | None = None


class ConsentRequested(_Evidence, type="consent_requested"):
    """The person was asked for consent; nothing follows from that."""

    purpose: Purpose = DEFAULT_PURPOSE


class ConsentGiven(_Evidence, type="consent_given", v=2):
    """Consent with its evidence (Art. 7(1) GDPR). Without a channel it covers every channel."""

    purpose: Purpose = DEFAULT_PURPOSE
    expires_at: UtcDatetime | None = None


class ConsentRefused(_Evidence, type="consent_refused"):
    """The person was asked and said no. It withdraws nothing: what was not given cannot be taken back."""

    purpose: Purpose = DEFAULT_PURPOSE


class ConsentWithdrawn(_Evidence, type="consent_withdrawn", v=2):
    """Consent taken back (Art. 7(3) GDPR). Without a purpose or channel it takes back all."""

    purpose: Purpose | None = None


class OptedOut(CandidateEvent, type="opted_out"):
    """Contact refused by the person. Without a purpose or channel it covers all."""

    purpose: Purpose | None = None
    method: OptOutMethod | None = None
    right: Right = Right.OBJECTION


class OptedIn(CandidateEvent, type="opted_in"):
    """An opt-out taken back by the person; the basis that held before holds again."""

    purpose: Purpose | None = None
    method: Label | None = None
    evidence: Personal[Text | None] = None


class BasisRecorded(CandidateEvent, type="basis_recorded"):
    """The lawful basis the controller rests on (Art. 6(1) GDPR); `lia` refers to the assessment."""

    purpose: Purpose = DEFAULT_PURPOSE
    basis: Basis
    lia: Label | None = None


class NoticeGiven(CandidateEvent, type="notice_given"):
    """The person was told about the processing (Art. 13 or 14 GDPR)."""

    article: Literal["13", "14"]
    notice_version: Label | None = None


class Restricted(CandidateEvent, type="restricted"):
    """From now on the person's data is stored and not used (Art. 18 GDPR), on whatever channel, for any purpose."""

    ground: RestrictionGround
    request: HexId | None = None


class RestrictionLifted(CandidateEvent, type="restriction_lifted"):
    """Data may be used again. The person has to be told before (Art. 18(3) GDPR): `informed_at` says when."""

    informed_at: UtcDatetime | None = None
    request: HexId | None = None


class RequestReceived(CandidateEvent, type="request_received"):
    """The person asked for what Art. 15 to 21 GDPR give them; `request` is the id of the matter."""

    request: HexId
    asks_for: RequestKind
    details: Personal[Text | None] = None


class RequestExtended(CandidateEvent, type="request_extended"):
    """The time to answer is two months longer (Art. 12(3) GDPR); the person was told, with the reason."""

    request: HexId
    reason: Literal["complexity", "number"]
    explanation: Personal[Text | None] = None


class RequestClosed(CandidateEvent, type="request_closed"):
    """The request was answered. One that is refused needs the reason (Art. 12(4) GDPR)."""

    request: HexId
    outcome: RequestOutcome
    explanation: Personal[Text | None] = None


class RecipientNotified(CandidateEvent, type="recipient_notified"):
    """Somebody to whom data had been disclosed was told what to do with it (Art. 19 GDPR), or confirmed it."""

    recipient: Label
    about: Literal["rectification", "erasure", "restriction"]
    acknowledged: bool = False
    request: HexId | None = None


class Erased(CandidateEvent, type="erased", v=2):
    """The last event of a record (Art. 17 GDPR): its key is destroyed after this. `erasure` names the proceeding.

    When the stored bodies of its events go as well, further ones follow the first. In these `bodies` holds the ledger
    position and the SHA-256 of each that goes, by which the log of all events still proves, and `envelopes`, in the
    same order, what else is kept of it: version, type, and when the ledger took it.
    """

    erasure: HexId
    ground: ErasureGround
    request: HexId | None = None
    bodies: tuple[tuple[int, WordingHash], ...] = ()
    envelopes: tuple[tuple[int, EventType, UtcDatetime], ...] | None = None


class Merged(CandidateEvent, type="merged"):
    """This record is the same person as `into`, which stands for both from now on."""

    into: HexId


class Unmerged(CandidateEvent, type="unmerged"):
    """The merge into `into` was a mistake; both records stand for themselves again."""

    into: HexId


EVENTS = catalogue(
    *(Sourced, ProfileCorrected, Tagged, Untagged, Emailed, Messaged, Delivered, Bounced, Complained, Opened),
    *(Clicked, Replied, EventAttended, ConsentGiven, ConsentWithdrawn, OptedOut, OptedIn, BasisRecorded),
    *(NoticeGiven, Merged, Unmerged, PreferencesUpdated, Applied, StageChanged, Rejected, Hired),
    *(ConsentRequested, ConsentRefused, Restricted, RestrictionLifted, RequestReceived, RequestExtended),
    *(RequestClosed, RecipientNotified, Erased),
)  # fmt: skip

INTENTIONS = (Emailed, Messaged)
"""Contacts we make; refused at the door without standing. Everything else is a fact and is recorded."""

BY_COMMAND = {Erased.type: "erase"}
"""What a command of its own does, with all that goes with it; no interaction can be one. By type: its name."""

BY_OFFICERS = frozenset({"request_extended", "request_closed", "recipient_notified", "restriction_lifted"})
"""What only those who answer for compliance do or report: it ends a protection, or says that a duty was met."""

# ── state and evolve ───────────────────────────────────────────────────────────────────────────────


InteractionKey = tuple[str, str, datetime | None, Channel | None, str | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What decisions rest on. Version 0: nothing is known of this id. `unreadable` says why nothing can be.

    `seq` is where the ledger holds the event of this version.
    """

    id: str
    version: int = 0
    seq: int = 0
    interactions: frozenset[InteractionKey] = frozenset()
    identifiers: frozenset[str] = frozenset()
    statements: tuple[Statement, ...] = ()
    merged_into: str | None = None
    merged_seq: int | None = None
    requests: tuple[Request, ...] = ()
    erased: bool = False
    unreadable: str | None = None


STATE_VERSION = 4
"""To be raised when `evolve` makes another state of the same events: states kept by older code are then not used."""

ERASED = "this person was erased; nothing more is recorded of them"

STATE = TypeAdapter(Candidate)
"""A state to JSON and back; what comes back equals what went in."""


def interaction_key(event: CandidateEvent) -> InteractionKey | None:
    """What tells an interaction from another: its id and type; for what a person says against contact also when it was
    said and about what (channel, and purpose or request), so that an id used again cannot swallow an opt-out. None
    without an id."""
    if event.interaction is None:
        return None
    if event.type not in TAKEN_BACK:
        return event.interaction, event.type, None, None, None
    return event.interaction, event.type, event.occurred_at, *_about(event)


def _about(event: CandidateEvent) -> tuple[Channel | None, str | None]:
    """What a statement is about: a channel and a purpose; of a restriction, which is of all use, its request."""
    if event.type in OF_EVERY_CELL:
        return None, getattr(event, "request", None)
    purpose: str | None = getattr(event, "purpose", None)
    # What was recorded before `*` was read at the door covers as much as it says.
    return event.channel, None if purpose == ANY_PURPOSE and event.type in TAKEN_BACK else purpose


ANSWERED_BY = {
    **dict.fromkeys(("opted_out", "complained"), "opted_in"),
    "consent_withdrawn": "consent_given",
    "restricted": "restriction_lifted",
}
"""What takes back each statement against contact."""


def is_told(state: Candidate, event: CandidateEvent) -> bool:
    """Whether `event`, a statement against contact, was recorded of the candidate, as of any time."""
    own = event.interaction, event.type, *_about(event)
    return any((*key[:2], *key[3:]) == own for key in state.interactions)


def still_holds(records: Iterable[Candidate], event: CandidateEvent) -> bool:
    """Whether `event`, a statement against contact that was told before and is told again now, has held all the while:
    since it was last said nothing of the person, whose `records` these are, took it back. Otherwise nobody can know
    whether it was sent again or said again, and the reading against contact wins."""
    statements = [s for record in records for s in record.statements]
    about = event.type, *_about(event)
    said = (s.occurred_at for s in statements if (s.type, s.channel, s.request or s.purpose) == about)
    since = max(said, default=event.occurred_at)
    answers = (s.occurred_at for s in statements if s.type == ANSWERED_BY[event.type])
    return not any(since < at <= event.occurred_at for at in answers)


def evolve(state: Candidate, event: CandidateEvent, version: int, seq: int, recorded_at: datetime) -> Candidate:
    """The state after `event`, which the ledger took at `recorded_at` and holds at `seq` as this `version`."""
    state = replace(state, version=version, seq=seq, identifiers=state.identifiers.union(event.identifiers))
    if (key := interaction_key(event)) is not None:
        state = replace(state, interactions=state.interactions | {key})
    if event.type in STATEMENT_TYPES:
        state = replace(state, statements=(*state.statements, statement(state.id, event, seq, recorded_at)))
    match event:
        case Merged(into=survivor):
            return replace(state, merged_into=survivor, merged_seq=seq)
        case Unmerged():
            return replace(state, merged_into=None, merged_seq=None)
        case RequestReceived(request=request):
            received = Request(request, event.asks_for, event.occurred_at)
            return replace(state, requests=(*(r for r in state.requests if r.id != request), received))
        case RequestExtended(request=request):
            return replace(state, requests=extended(state.requests, request, event.occurred_at))
        case RequestClosed(request=request):
            return replace(state, requests=closed(state.requests, request))
        case Erased():
            return replace(state, erased=True)
    return state


def statement(candidate_id: str, event: CandidateEvent, seq: int, recorded_at: datetime) -> Statement:
    """The part of `event` that bears on standing; see `domain.consent`."""
    channel, about = _about(event)
    return Statement(
        candidate_id=candidate_id,
        seq=seq,
        occurred_at=effective_at(event.type, event.occurred_at, recorded_at),
        type=event.type,
        channel=channel,
        purpose=None if event.type in OF_EVERY_CELL else about,
        basis=getattr(event, "basis", None),
        expires_at=getattr(event, "expires_at", None),
        request=getattr(event, "request", None),
    )


# ── decide ─────────────────────────────────────────────────────────────────────────────────────────


def decide(
    state: Candidate,
    proposed: CandidateEvent,
    *,
    now: datetime,
    survivor: Candidate | None = None,
    standing: Standing | None = None,
    facts: bool = False,
) -> tuple[CandidateEvent, ...]:
    """The events that follow from `proposed`: itself, or none when its interaction is known already.

    `survivor` is the state of the candidate a merge points at. `standing` is given for an intended contact
    only; facts reported by others are recorded whatever the standing. One that is against contact is taken even from a
    clock that is days ahead: it counts from when it is recorded (`domain.consent.effective_at`).

    Raises UnreadableCandidate, ErasedCandidate, OccurredInFuture, MergeRefused, RequestRefused, OptInWithoutEvidence
    or NotContactable.
    """
    if state.unreadable is not None:
        raise errors.UnreadableCandidate(state.unreadable)
    if state.erased:
        raise errors.ErasedCandidate(ERASED)
    if interaction_key(proposed) in state.interactions:
        return ()
    _check_clock(proposed, now, facts=facts)
    match proposed:
        case Merged():
            _check_merge(state, proposed, survivor)
        case Unmerged() if state.merged_into is None:
            raise errors.MergeRefused("this candidate is not merged into another; there is nothing to undo")
        case Unmerged() if state.merged_into != proposed.into:
            raise errors.MergeRefused(f"this candidate is merged into {state.merged_into}, not into the one named")
        case OptedIn() if proposed.actor_kind != ActorKind.CANDIDATE and not proposed.evidence:
            raise errors.OptInWithoutEvidence(
                "an opt-in on a person's behalf needs data.evidence; "
                "if the person did it, say so with actor candidate:…"
            )
        case RequestReceived():
            check_received(state.requests, proposed.request)
        case RequestExtended():
            check_extended(state.requests, proposed.request, proposed.occurred_at)
        case RequestClosed(outcome=RequestOutcome.REFUSED) if not proposed.explanation:
            raise errors.RequestRefused(
                "a request that is refused needs data.explanation: the reason (Art. 12(4) GDPR)"
            )
        case RequestClosed():
            check_open(state.requests, proposed.request)
        case Emailed() | Messaged() if standing is not None and not standing.contactable:
            because = "" if standing.because_seq is None else f" (event {standing.because_seq})"
            raise errors.NotContactable(
                f"not contactable on {proposed.channel} for {proposed.purpose}: {standing.status}{because}"
            )
    return (proposed,)


def _check_clock(proposed: CandidateEvent, now: datetime, *, facts: bool) -> None:
    if not (facts and proposed.type in TAKEN_BACK):
        check_clock(proposed, now)


def _check_merge(state: Candidate, proposed: Merged, survivor: Candidate | None) -> None:
    if proposed.into == state.id:
        raise errors.MergeRefused("a candidate cannot be merged into itself")
    if state.version == 0:
        raise errors.MergeRefused("the duplicate is not known")
    if state.merged_into is not None:
        raise errors.MergeRefused(f"already merged into {state.merged_into}; unmerge it first")
    if survivor is None or survivor.version == 0:
        raise errors.MergeRefused("the candidate to merge into is not known")
    if survivor.erased:
        raise errors.MergeRefused("the candidate to merge into was erased")
    if survivor.merged_into is not None:
        raise errors.MergeRefused(f"the candidate to merge into was merged away; merge into {survivor.merged_into}")
