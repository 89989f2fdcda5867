"""Subscribers of the feed: who there are, how far they have come, and what became of their deliveries."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api import status
from api.http.answers import answers
from api.http.answers.operations import Delivered, Removed, Subscribed, Subscribers
from api.http.asking import AskedFirst
from api.http.parameters import NodeUpToDate
from api.http.problems import problem
from api.http.reads import WRITES, reads_nothing
from api.http.roles import OPERATORS
from api.node import Node
from infra.deliveries import KEPT
from infra.feed_access import API, subscriber
from infra.nats_accounts import account, exports
from infra.outbound import AddressRefused, check_where
from infra.subscriber import NAME, Subscriber, SubscriberRefused, Webhook

LEDGER_ACCOUNT = "THE_LEDGERS_ACCOUNT"
"""In what is printed for a cluster's operator, who knows what it is called."""
STATUS = {"unknown-subscriber": 404, "invalid-subscriber": 422}

_NO_PERSON = reads_nothing("names of services, positions and times")

router = APIRouter(route_class=AskedFirst, prefix="/v1/subscribers", tags=["feed"])

Name = Annotated[str, Path(pattern=f"^{NAME}$", max_length=40)]


class Added(BaseModel):
    """A subscriber to be. With `url` it gets webhooks, else it pulls for itself."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=200, json_schema_extra={"pattern": f"^{NAME}$", "maxLength": 40})]
    types: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=50)] = []
    after: Annotated[int | None, Field(ge=0, le=2**53)] = None
    url: Annotated[str | None, Field(max_length=2_000)] = None
    allow_private: bool = False


@router.get(
    "",
    summary="Subscribers of the feed, and how far they have come",
    openapi_extra=_NO_PERSON | OPERATORS,
    responses=answers(Subscribers),
)
def subscribers(node: NodeUpToDate) -> dict[str, Any]:
    """`lag` counts messages not acknowledged, `acknowledged` is the position up to which all are."""
    known = node.subscribers.all()
    found = status.subscribers(node)
    return {"subscribers": [s | {"url": w.url if (w := known[s["name"]].webhook) else None} for s in found]}


@router.post(
    "",
    summary="A new subscriber of the feed",
    status_code=201,
    openapi_extra=WRITES | OPERATORS,
    responses=answers(Subscribed, status=201),
)
def add(added: Added, node: NodeUpToDate) -> Response:
    """The answer holds its secret, this once: the seed of its key, or what its webhooks are signed by.

    It begins behind `after`, 0 for all that is kept; without, with what comes from now on.
    """
    webhook = None
    if added.url is not None:
        try:
            check_where(added.url, allow_private=added.allow_private)
        except AddressRefused as error:
            return problem(422, "invalid-subscriber", str(error))
        webhook = Webhook(url=added.url, allow_private=added.allow_private)
    return _with_secret(node, 201, lambda: node.subscribers.add(added.name, added.types, added.after, webhook))


@router.post(
    "/{name}/rotate",
    summary="Another secret for a subscriber",
    openapi_extra=WRITES | OPERATORS,
    responses=answers(Subscribed),
)
def rotate(name: Name, node: NodeUpToDate) -> Response:
    """A key before is refused from now on; what webhooks were signed by signs beside for 24 hours more."""
    return _with_secret(node, 200, lambda: node.subscribers.rotate(name))


@router.post(
    "/{name}/pause",
    summary="Post nothing to a subscriber for now",
    openapi_extra=WRITES | OPERATORS,
    responses=answers(Subscribed),
)
def pause(name: Name, node: NodeUpToDate) -> Response:
    """What is published meanwhile waits, for as long as the feed keeps it."""
    return _changed(node, lambda: node.subscribers.pause(name, "by an operator"))


@router.post(
    "/{name}/resume",
    summary="Post to a subscriber again",
    openapi_extra=WRITES | OPERATORS,
    responses=answers(Subscribed),
)
def resume(name: Name, node: NodeUpToDate) -> Response:
    """From where it had come to."""
    return _changed(node, lambda: node.subscribers.resume(name))


@router.delete("/{name}", summary="Remove a subscriber", openapi_extra=WRITES | OPERATORS, responses=answers(Removed))
def remove(name: Name, node: NodeUpToDate) -> Response:
    """Its place on the feed goes with it."""
    try:
        node.subscribers.remove(name)
    except SubscriberRefused as error:
        return _refused(error)
    node.delivering.look()
    node.deliveries.forget(name)
    return JSONResponse({"removed": name})


@router.get(
    "/{name}/deliveries",
    summary="The last webhooks to a subscriber",
    openapi_extra=_NO_PERSON | OPERATORS,
    responses=answers(Delivered),
)
def deliveries(name: Name, node: NodeUpToDate, limit: Annotated[int, Query(ge=1, le=KEPT)] = 20) -> Response:
    """Oldest first, an entry an attempt; no bodies."""
    try:
        found = node.subscribers.get(name)
    except SubscriberRefused as error:
        return _refused(error)
    last = node.deliveries.last(name, limit) if found.webhook is not None else []
    return JSONResponse({"subscriber": name, "deliveries": [delivery.model_dump(mode="json") for delivery in last]})


def _with_secret(node: Node, status_code: int, make: Callable[[], tuple[Subscriber, str]]) -> Response:
    try:
        made, secret = make()
    except SubscriberRefused as error:
        return _refused(error)
    node.delivering.look()
    return JSONResponse(described(node, made) | {"secret": secret}, status_code, {"Cache-Control": "no-store"})


def _changed(node: Node, change: Callable[[], Subscriber]) -> Response:
    try:
        changed = change()
    except SubscriberRefused as error:
        return _refused(error)
    node.delivering.look()
    return JSONResponse(described(node, changed))


def described(node: Node, subscriber: Subscriber) -> dict[str, Any]:
    """A subscriber as the routes answer it: where and how it logs in, or where messages are posted; no secret."""
    shown: dict[str, Any] = {"name": subscriber.name, "types": list(subscriber.types), "start": subscriber.start}
    if subscriber.webhook is not None:
        return shown | {"kind": "webhook", "url": subscriber.webhook.url, "paused": subscriber.webhook.paused}
    stream, servers = node.feed.stream.name, ",".join(node.connection.servers)
    shown |= {"kind": "nats", "servers": servers, "stream": stream, "api": API, "nkey": subscriber.nkey}
    shown["stays"] = not node.subscribers.is_embedded or node.settings.nats_port is not None
    if node.subscribers.is_embedded or subscriber.nkey is None:
        return shown | {"configuration": None}
    return shown | {"configuration": _configuration(subscriber.name, subscriber.nkey, stream)}


def _configuration(name: str, nkey: str, stream: str) -> dict[str, str]:
    """What the operator of a cluster puts into its servers' configuration."""
    guest = subscriber(name, nkey, stream)
    return {"exports": ",\n".join(exports(guest)), "accounts": account(guest, LEDGER_ACCOUNT)}


def _refused(error: SubscriberRefused) -> JSONResponse:
    return problem(STATUS.get(error.code, 409), error.code, str(error))
