"""What officers are answered: standing, trails, requests, erasures, findings, the policy, the access log."""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.access import Access


class Contactability(BaseModel):
    """Whether a person may be contacted, and the event that decides."""

    candidate: str
    channel: str
    purpose: str
    as_of: datetime
    known_at: datetime | None
    contactable: bool
    status: str
    because_seq: int | None


class Cell(BaseModel):
    """What holds for one purpose on one channel; `*` is any channel that nobody named."""

    channel: str
    purpose: str
    contactable: bool
    status: str
    because_seq: int | None


class Step(BaseModel):
    """One event of a trail, with the standing that it led to."""

    seq: int
    record: str
    version: int
    type: str
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    source: str | None
    channel: str | None
    interaction: str | None
    data: dict[str, Any]
    state: list[Cell]


class Trail(BaseModel):
    """One person's consent trail, in the order in which things happened."""

    candidate: str
    records: list[str]
    as_of: datetime
    known_at: datetime | None
    events: list[Step]
    standing: list[Cell]


class ConsentEvent(BaseModel):
    """A statement, in the field names of ISO/IEC TS 27560 and the terms of W3C DPV."""

    event_time: datetime
    event_type: str
    event_state: str
    entity_id: str
    validity_duration: str | None = None
    privacy_right: str | None = None
    wording_hash: str | None = None
    channel: str | None = None
    recorded_time: datetime
    seq: int
    method: str | None = None
    jurisdiction: str | None = None
    notice_version: str | None = None
    language: str | None = None


class ConsentState(BaseModel):
    """What holds on one channel."""

    channel: str
    event_state: str
    lawful_basis: str | None = None
    contactable: bool
    status: str
    because_seq: int | None = None


class ConsentRecord(BaseModel):
    """A consent record (ISO/IEC TS 27560) of one purpose."""

    record_id: str
    pii_principal_id: str
    pii_processing: dict[str, Any]
    event: list[ConsentEvent]
    state: list[ConsentState]


class ConsentRecords(BaseModel):
    """One person's consent records, with a JSON-LD context."""

    context: dict[str, str] = Field(alias="@context")
    schema_version: str
    as_of: datetime
    known_at: datetime | None
    records: list[ConsentRecord]


class ProvedEvent(BaseModel):
    """One event's stored bytes (base64), and the path from its leaf to the tree's root."""

    seq: int
    leaf: int
    record: str
    version: int
    recorded_at: datetime
    hash: str
    stored: str | None = None
    path: list[str]


class EvidenceRecord(BaseModel):
    """How many events of one record are proved."""

    record: str
    events: int


class Evidence(BaseModel):
    """An evidence file. Its format has a version, and a description of its own in docs/proof.md."""

    model_config = ConfigDict(extra="allow")

    format: Literal["rapport-evidence"]
    version: int
    candidate: str
    as_of: datetime
    known_at: datetime | None
    until_seq: int
    made_at: datetime
    records: list[EvidenceRecord]
    events: list[ProvedEvent]
    checkpoint: str
    statement: str
    key: str
    key_id: str


class RequestRecorded(BaseModel):
    """What became of something said of a request."""

    status: Literal["accepted", "duplicate"]
    request: str
    candidate: str
    seq: int | None = None


class DataSubjectRequest(BaseModel):
    """A request under Art. 15 to 22 GDPR, and when it is due."""

    canonical_id: str
    candidate_id: str
    request_id: str
    asks_for: str
    received_at: datetime
    due_at: datetime
    extended_at: datetime | None
    extended_for: str | None
    closed_at: datetime | None
    outcome: str | None
    state: Literal["open", "overdue", "closed"]
    received_seq: int
    extended_seq: int | None
    closed_seq: int | None


class DataSubjectRequests(BaseModel):
    """A page of requests, the most urgent first."""

    as_of: datetime
    requests: list[DataSubjectRequest]
    next: str | None


class RequestEvent(BaseModel):
    """One event that names a request."""

    seq: int
    type: str
    record: str
    occurred_at: datetime
    recorded_at: datetime
    actor_kind: str
    channel: str | None
    data: dict[str, Any]


class ToldRecipient(BaseModel):
    """Who was told what (Art. 19 GDPR), and whether they confirmed it."""

    recipient: str
    about: str
    acknowledged: bool
    occurred_at: datetime
    seq: int


class RequestPage(DataSubjectRequest):
    """All there is about one request; `carried_out_by` is the command that does what it asks for."""

    events: list[RequestEvent]
    recipients: list[ToldRecipient]
    carried_out_by: str


class ErasedRecord(BaseModel):
    """One record of an erased person: how many events it has, and where its last one stands."""

    id: str
    events: int
    erased_seq: int
    bodies: int
    named_at: int


class Erasure(BaseModel):
    """An erasure, and when each of its steps was done."""

    erasure: str
    candidate: str
    ground: str
    by: str
    request: str | None
    requested_at: datetime
    records: list[ErasedRecord]
    identifiers_suppressed: int
    purge: bool
    bodies_removed: int
    steps: dict[str, datetime]
    certified: bool


class Erasures(BaseModel):
    """A page of erasures, newest first."""

    erasures: list[Erasure]
    next: str | None


class Unrecognised(BaseModel):
    """Identifiers of erased people that nobody recognises any more, and since when."""

    identifiers: int
    since: datetime


class Lifted(BaseModel):
    """When an identifier was made free again, by whom and why."""

    at: datetime
    by: str
    because: str


class Suppression(BaseModel):
    """Whether an identifier is one of somebody who was erased."""

    suppressed: bool
    erasures: list[str]
    unrecognised: Unrecognised | None
    lifted: list[Lifted]


class Finding(BaseModel):
    """What breaks a rule, since when, the events that prove it, and what to do."""

    kind: str
    canonical_id: str
    candidate_id: str
    severity: str
    since: datetime
    due_at: datetime | None
    article: str
    what_to_do: str
    seq: int
    seqs: list[int]


class Findings(BaseModel):
    """A page of findings, the gravest kind first; `total` is of all pages."""

    as_of: datetime
    known_at: datetime | None
    total: int
    findings: list[Finding]
    next: str | None


class Term(BaseModel):
    """One value of a jurisdiction with its source, and the jurisdiction that it is from."""

    value: int
    source: str
    source_date: date
    looked_up: date
    confirmed: bool
    note: str | None
    from_: str = Field(alias="from")


class Terms(BaseModel):
    """What a jurisdiction lays down."""

    name: str
    retention_months: Term
    rejected_months: Term
    notice_months: Term
    opt_out_hours: Term
    consent_refresh_months: Term
    tell_recipients_days: Term


class Policy(BaseModel):
    """The compliance policy in force."""

    version: str
    file: str | None
    default: str
    jurisdictions: dict[str, Terms]


class Purpose(BaseModel):
    """What data is processed for, and on which basis."""

    name: str
    description: str
    basis: str
    articles: str


class Fields(BaseModel):
    """Names of fields, those that hold personal data and the others."""

    personal: list[str]
    other: list[str]


class ProcessedEvent(Fields):
    """A type of event, and what it holds."""

    type: str
    meaning: str


class RecipientCategory(BaseModel):
    """To whom data goes."""

    category: str
    receives: str
    third_countries: str


class TimeLimit(BaseModel):
    """How long something may take or be kept."""

    jurisdiction: str
    name: str
    what: str
    for_: str = Field(alias="for")
    value: int
    source: str
    source_date: date
    looked_up: date
    confirmed: bool
    note: str | None


class RecordsOfProcessing(BaseModel):
    """The records of processing activities (Art. 30 GDPR)."""

    controller: dict[str, str]
    policy_version: str
    purposes: list[Purpose]
    lawful_bases: list[str]
    data_subjects: list[str]
    recorded_with_every_event: Fields
    events: list[ProcessedEvent]
    recipients: list[RecipientCategory]
    time_limits: list[TimeLimit]
    requests: dict[str, Any]
    security: list[str]


class AccessRecord(Access):
    """Who read what; members that say nothing are left out."""

    number: int


class AccessRecords(BaseModel):
    """A page of the access log."""

    records: list[AccessRecord]
    next: int | None


class AccessVerification(BaseModel):
    """Whether the access log is whole; `head` is what to note."""

    clean: bool
    records: int
    first: int | None
    head: str | None
    findings: list[str]
