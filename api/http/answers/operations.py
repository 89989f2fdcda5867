"""What operators, analysts and services are answered: health, status, letters, webhooks, the feed, SQL."""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.http.answers.compliance import Unrecognised
from infra.deliveries import Delivery


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]
    instance: str


class Ready(BaseModel):
    """The node can do its work."""

    status: Literal["ready"]
    reasons: list[str]


class NotReady(BaseModel):
    """The node cannot do its work, or not as it should, and why."""

    status: Literal["not ready"]
    reasons: list[str]


class DeadEvent(BaseModel):
    """An event that the views cannot use."""

    seq: int
    kind: str
    id: str | None
    version: int | None
    type: str
    problem: str
    waiting: int
    since: datetime


class DeadDelivery(BaseModel):
    """A delivery that could not be recorded."""

    id: str
    provider: str
    reasons: list[str]
    since: datetime


class DeadLetters(BaseModel):
    """A page of dead letters."""

    dead_letters: list[DeadEvent]
    ingest: list[DeadDelivery]
    next: str | None


class Alike(BaseModel):
    """Another delivery of the same unknown kind."""

    id: str
    since: datetime


class DeadDeliveryOpened(DeadDelivery):
    """What a provider sent, as it is kept; without body and headers where the key of its day is gone."""

    kind: str
    received_at: datetime | None
    correlation: str | None
    headers: dict[str, str] | None
    body: str | None
    alike: list[Alike]


class Retried(BaseModel):
    """What came of one event."""

    seq: int
    status: Literal["retried", "waits", "no-dead-letter"]
    reason: str | None


class PutBack(BaseModel):
    """What came of one delivery."""

    id: str
    status: Literal["queued", "no-dead-letter"]


class Retry(BaseModel):
    """What came of trying dead letters again."""

    results: list[Retried]
    ingest: list[PutBack]
    retried: int
    waits: int


class WebhookProvider(BaseModel):
    """A provider, and the fingerprints of its secrets, the newest first."""

    provider: str
    on: bool
    secrets: list[str]


class WebhookProviders(BaseModel):
    """The providers there are; `failure` says why the list cannot be read."""

    providers: list[WebhookProvider]
    failure: str | None


class SecretAdded(BaseModel):
    """By what a secret is named from now on."""

    provider: str
    fingerprint: str


class SecretsRemoved(BaseModel):
    """How many secrets were removed."""

    provider: str
    removed: int


class UnknownKind(BaseModel):
    """A kind of delivery that nobody knows, and how many there were."""

    id: str
    provider: str
    kind: str
    count: int
    last_seen: datetime


class UnknownKinds(BaseModel):
    """A page of them."""

    kinds: list[UnknownKind]
    next: str | None


class Published(BaseModel):
    """A message of the feed: a CloudEvent, its position and its type."""

    position: int
    type: str
    event: dict[str, Any]


class PublishedPage(BaseModel):
    """A page of the feed, and the position of its last message."""

    events: list[Published]
    next: int
    last: int


class Acknowledged(BaseModel):
    """What became of an acknowledgement; of somebody who was erased there is no position."""

    status: Literal["accepted", "duplicate"]
    candidate: str
    seq: int | None


class KeptAcknowledgement(BaseModel):
    """Who confirmed the erasure of somebody."""

    id: str
    recipient: str
    message: str
    about: str
    candidate: str
    erasure: str | None
    acknowledged_at: datetime


class Acknowledgements(BaseModel):
    """A page of them, oldest first."""

    acknowledgements: list[KeptAcknowledgement]
    next: str | None


class SubscriberState(BaseModel):
    """How far a subscriber has come."""

    name: str
    kind: Literal["nats", "webhook"]
    types: list[str]
    created_at: datetime
    lag: int | None
    acknowledged: int | None
    seen_at: datetime | None
    paused: str | None


class SubscriberListed(SubscriberState):
    """And where it is posted to."""

    url: str | None


class Subscribers(BaseModel):
    """All of them."""

    subscribers: list[SubscriberListed]


class ServersConfiguration(BaseModel):
    """What a cluster's operator puts into the servers' configuration."""

    exports: str
    accounts: str


class Subscribed(BaseModel):
    """A subscriber: where and how it logs in, or where messages are posted. `secret` is shown once."""

    name: str
    types: list[str]
    start: int
    kind: Literal["nats", "webhook"]
    url: str | None = None
    paused: str | None = None
    servers: str | None = None
    stream: str | None = None
    api: str | None = None
    nkey: str | None = None
    stays: bool | None = None
    configuration: ServersConfiguration | None = None
    secret: str | None = None


class Removed(BaseModel):
    """Which subscriber is no more."""

    removed: str


class Delivered(BaseModel):
    """The last webhooks to a subscriber, an entry an attempt."""

    subscriber: str
    deliveries: list[Delivery]


class Column(BaseModel):
    """A column, or a parameter of a macro."""

    model_config = ConfigDict(extra="allow")

    name: str
    type: str | None
    comment: str | None = None


class Table(BaseModel):
    """A table, a view or a macro that can be asked."""

    schema_: str = Field(alias="schema")
    name: str
    kind: str
    comment: str | None
    columns: list[Column] | None
    parameters: list[str] | None


class Part(BaseModel):
    """A part of the mirror: the day of recording, in UTC, and where its shard begins."""

    day: date
    shard: str
    events: int
    last_seq: int


class Parts(BaseModel):
    """The mirror by day and shard, up to one position; `columns` changes with the columns."""

    until: int
    columns: str
    parts: list[Part]


class LedgerStatus(BaseModel):
    """The stream of all events."""

    messages: int
    last_seq: int
    size_bytes: int
    replicas: int
    leader: str | None
    followers: dict[str, str]
    duplicate_window_s: float
    server_version: str
    sync: str


class BatchStatus(BaseModel):
    """The last batch that the views took, and how long the last ones took."""

    events: int
    apply_ms: float
    at: datetime
    apply_p50_ms: float
    apply_p95_ms: float
    batches: int


class BuildingStatus(BaseModel):
    """Which view is being built, and how much of all is done (0 to 1)."""

    view: str
    done: float


class RefusedView(BaseModel):
    """A definition that is not used, and why."""

    view: str
    reason: str


class ViewStatus(BaseModel):
    """A view as it is kept."""

    name: str
    version: int
    definition: str
    built_at: datetime
    build_s: float | None


class ViewsStatus(BaseModel):
    """How far the views have come."""

    checkpoint: int
    mirrored: int
    lag_events: int
    lag_s: float
    batch: BatchStatus | None
    building: BuildingStatus | None
    refused: list[RefusedView]
    dead_letters: int | None
    waiting_events: int | None
    rows: dict[str, int]
    views: list[ViewStatus]


class FeedStatus(BaseModel):
    """How far the feed has come, and its subscribers."""

    first: int
    last: int
    size_bytes: int
    relayed_seq: int
    lag_events: int
    relays: bool
    failure: str | None
    subscribers: list[SubscriberState]
    not_delivering: str | None


class IngestStatus(BaseModel):
    """What waits of webhooks, and what came of them."""

    providers: list[str]
    waiting: int
    oldest_s: float
    dead_letters: int
    unknown_kinds: int
    since_start: dict[str, int]
    failure: str | None


class Status(BaseModel):
    """The node on one screen."""

    ready: bool
    reasons: list[str]
    failing: bool
    data: str
    ledger: LedgerStatus
    views: ViewsStatus
    feed: FeedStatus
    ingest: IngestStatus
    master_key_id: str
    keys_damaged: list[str]
    unrecognised: Unrecognised | None
