"""`POST /v1/webhooks/{provider}`: a provider's delivery is verified, stored sealed, and answered. Nothing else is done.

Reading and recording come later, from the queue: no decision, no view and no key of a person is between a provider and
its answer.
"""

import re
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any

import structlog
from anyio.to_thread import run_sync
from eventsourcing.persistence import DataError, OperationalError
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.answers import answers
from api.http.answers.operations import SecretAdded, SecretsRemoved, UnknownKinds, WebhookProviders
from api.http.arriving import Arriving, NotWhole
from api.http.asking import AskedFirst
from api.http.paging import After, Limit
from api.http.problems import has_two_lengths, problem, two_lengths
from api.http.reads import WRITES, reads_nothing
from api.http.roles import OFFICERS, OPERATORS, open_to_anybody
from api.http.threads import Threads
from api.intake import Intake
from api.reception import ACCEPTED, SHORT_BYTES, Reception
from consumers.webhooks.delivery import Delivery, Particular, Provider, Refused
from domain.event import utc_now
from infra.ingest_seals import Taken
from infra.webhook_secrets import WebhooksRefused, fingerprint_of

MAX_BODY_BYTES = 4_000_000
"""Of one delivery; the longest that a provider documents is SendGrid's, below 1 MB."""
SHORTER = {"ses": 6 * 262_144}
"""Of providers that document less. Amazon SNS: 256 KiB of message, in JSON, where a character may take six bytes."""
MOST_AT_ONCE = 256
"""Deliveries that are whole, and being verified or stored."""
REFUSED = {"malformed": 400}
PAGE = 1_000
"""Unknown kinds."""
ENDED = {"Connection": "close"}
"""With an answer to a body that does not end: nothing more of it is waited for."""
BUSY = ENDED | {"Retry-After": "1"}
TAKEN: dict[int | str, dict[str, Any]] = {200: {"description": "taken, in the words of this provider"}}

DOOR = WRITES | open_to_anybody("providers have no token of ours: each delivery proves itself by the provider's means")
NO_PERSON = reads_nothing("names and counts of providers")

router = APIRouter(route_class=AskedFirst, tags=["webhooks"])
log = structlog.get_logger()

_DOOR = re.compile(r"/v1/webhooks/([^/]{1,40})(?:/([^/]{1,500}))?/?")


class Door:
    """The middleware that takes deliveries, before all that is there for callers with tokens.

    A provider has none, so none of that applies: each delivery proves itself. It comes by the name that the provider
    was given, whatever this node calls itself; and there are hundreds a second of them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a delivery; all else goes on."""
        if scope["type"] != "http" or scope["method"] != "POST" or not (place := _DOOR.fullmatch(scope["path"])):
            await self._app(scope, receive, send)
            return
        with suppress(ClientDisconnect):  # of a body that breaks off nothing is kept, and nobody waits for an answer
            answer = (
                two_lengths() if has_two_lengths(scope) else await _take(Request(scope, receive), place[1], place[2])
            )
            if scope["app"].state.is_beside_a_door():
                answer.headers["Connection"] = "close"  # the next one begins at the door again
            await answer(scope, receive, send)


class Secret(BaseModel):
    """By what deliveries of a provider are known."""

    model_config = ConfigDict(extra="forbid")

    secret: Annotated[str, Field(max_length=10_000, repr=False)]


@router.post(
    "/v1/webhooks/{provider}",
    summary="Take a provider's delivery",
    openapi_extra=DOOR,
    status_code=ACCEPTED,
    response_class=Response,
    responses=TAKEN,
)
async def take(request: Request, provider: Annotated[str, Path(max_length=40)]) -> Response:  # behind `Door`
    """Answers 202, or what the provider expects, once the delivery is on disk; 401 when it is not theirs."""
    return await _take(request, provider, None)


@router.post(
    "/v1/webhooks/{provider}/{path_secret}",
    summary="Take a delivery of a provider that cannot sign",
    openapi_extra=DOOR,
    status_code=ACCEPTED,
    response_class=Response,
    responses=TAKEN,
)
async def take_by_path(
    request: Request, provider: Annotated[str, Path(max_length=40)], path_secret: Annotated[str, Path(max_length=500)]
) -> Response:
    """As without; the secret stands in the address."""
    return await _take(request, provider, path_secret)


async def _take(request: Request, name: str, path_secret: str | None) -> Response:
    reception: Reception = request.app.state.reception()
    provider, secrets = reception.providers.get(name), reception.secrets.of(name)
    if provider is None or not secrets:
        return problem(
            404, "unknown-webhook", "no webhooks of this provider are taken; `rapport webhooks add` does that"
        )
    arriving: Arriving = request.app.state.arriving
    try:
        async with arriving.body(request.stream(), SHORTER.get(name, MAX_BODY_BYTES)) as body:
            headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in request.headers.raw}
            delivery = Delivery(headers, body, utc_now(), path_secret)
            return await _in_turn(request, provider, secrets, delivery)
    except NotWhole as error:
        is_busy = error.status == HTTPStatus.SERVICE_UNAVAILABLE
        reception.counted.note(provider.name, "postponed" if is_busy else "refused")
        headers = {} if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else BUSY if is_busy else ENDED
        return problem(error.status, error.code, str(error), headers)


async def _in_turn(request: Request, provider: Provider, secrets: tuple[str, ...], delivery: Delivery) -> Response:
    reception: Reception = request.app.state.reception()
    if reception.at_once >= MOST_AT_ONCE:
        return problem(503, "webhooks-busy", "too many deliveries at a time; send it again", {"Retry-After": "1"})
    reception.at_once += 1
    try:
        refusal = await _refusal(reception, request.app.state.threads, provider, delivery, secrets)
        return refusal or await _stored(reception, provider, delivery, request.state.correlation)
    finally:
        reception.at_once -= 1


async def _stored(reception: Reception, provider: Provider, delivery: Delivery, correlation: str) -> Response:
    try:
        headers, body = delivery.headers, delivery.body
        taken = Taken(provider.name, delivery.received_at, headers, body, correlation=correlation)
        await reception.take(taken)
    except DataError:
        reception.counted.note(provider.name, "refused")
        return problem(413, "too-large", "the delivery is over the nats-server's `max_payload`; raise that")
    except OperationalError as error:
        reception.counted.note(provider.name, "postponed")
        return problem(503, "not-taken", f"nothing was taken, send it again: {error}", {"Retry-After": "5"})
    reception.counted.note(provider.name, "received")
    return Response(status_code=reception.way_of(provider).answer)


async def _at_once_or_on_a_thread(
    reception: Reception, threads: Threads, provider: Provider, delivery: Delivery, secrets: tuple[str, ...]
) -> None:
    """Verifies. What is short takes a tenth of a millisecond; to hand it to a thread and back would take longer."""
    if len(delivery.body) > SHORT_BYTES or reception.way_of(provider).asks:
        verify = partial(provider.verify, delivery, secrets, delivery.received_at)
        await run_sync(verify, limiter=threads.deliveries)
    else:
        provider.verify(delivery, secrets, delivery.received_at)


async def _refusal(
    reception: Reception, threads: Threads, provider: Provider, delivery: Delivery, secrets: tuple[str, ...]
) -> JSONResponse | None:
    """Why the delivery is not taken; None when it is the provider's."""
    try:
        await _at_once_or_on_a_thread(reception, threads, provider, delivery, secrets)
        by_token = reception.way_of(provider).by_token
        if by_token is not None and await reception.is_used(provider.name, *by_token.proved(delivery)):
            raise Refused("replayed", "this signature came with something else before")
    except Refused as error:
        reception.counted.note(provider.name, "refused")
        return problem(REFUSED.get(error.code, 401), error.code, str(error))
    except OperationalError as error:
        reception.counted.note(provider.name, "postponed")
        return problem(503, "not-verified", f"it cannot be verified just now: {error}", {"Retry-After": "5"})
    except Exception as error:  # noqa: BLE001 - a body made to break a parser is no fault of the node
        reception.counted.note(provider.name, "refused")
        log.warning("a delivery broke its verification", provider=provider.name, error=type(error).__name__)
        return problem(400, "malformed", "this is nothing that the provider documents")
    return None


# ── which are taken ──


@router.get(
    "/v1/webhook-providers",
    summary="Providers whose webhooks are taken",
    openapi_extra=NO_PERSON | OFFICERS,
    responses=answers(WebhookProviders),
)
def providers(request: Request) -> dict[str, Any]:
    """Those there are, and the fingerprints of the secrets of those that are on, the newest first."""
    intake: Intake = request.app.state.node.intake
    taken = intake.secrets.all()
    return {
        "providers": [
            {"provider": name, "on": name in taken, "secrets": [fingerprint_of(s) for s in taken.get(name, ())]}
            for name in sorted({*intake.providers, *(name for name in taken if name in intake.providers)})
        ],
        "failure": intake.secrets.failure,
    }


@router.post(
    "/v1/webhook-providers/{provider}/secrets",
    summary="Take a provider's webhooks, by one more secret",
    openapi_extra=NO_PERSON | OPERATORS,
    status_code=201,
    responses=answers(SecretAdded, status=201),
)
def add(request: Request, provider: str, secret: Secret) -> Response:
    """The newest secret comes first; the ones before go on until they are removed."""
    intake: Intake = request.app.state.node.intake
    if provider not in intake.providers:
        known_ones = ", ".join(sorted(intake.providers))
        return problem(
            404,
            "unknown-webhook",
            f"no such provider; known are {known_ones}, and standard-NAME for each more sender of Standard Webhooks",
        )
    known, given = intake.providers[provider], secret.secret.strip()
    if isinstance(known, Particular) and (what := known.unfit(given)) is not None:
        return problem(409, "webhooks-refused", f"this can be no secret of {provider}: {what}")
    try:
        intake.secrets.add(provider, given)
    except WebhooksRefused as error:
        return problem(409, "webhooks-refused", str(error))
    return JSONResponse({"provider": provider, "fingerprint": fingerprint_of(given)}, 201)


@router.delete(
    "/v1/webhook-providers/{provider}",
    summary="Take no more of a provider, or no more by one secret",
    openapi_extra=NO_PERSON | OPERATORS,
    responses=answers(SecretsRemoved),
)
def remove(
    request: Request,
    provider: str,
    fingerprint: Annotated[str | None, Query(description="of the one secret to remove; all of them if absent")] = None,
) -> Response:
    """What is in the queue is recorded all the same."""
    intake: Intake = request.app.state.node.intake
    try:
        removed = intake.secrets.remove(provider, fingerprint)
    except WebhooksRefused as error:
        return problem(409, "webhooks-refused", str(error))
    if not removed:
        return problem(404, "unknown-webhook", "there is no such secret; `rapport webhooks list` shows those there are")
    return JSONResponse({"provider": provider, "removed": removed})


@router.get(
    "/v1/webhook-kinds",
    summary="Kinds of deliveries that nobody knows",
    openapi_extra=reads_nothing("providers' words for kinds of events, and counts") | OFFICERS,
    responses=answers(UnknownKinds),
)
def kinds(request: Request, limit: Limit = PAGE, after: After = None) -> dict[str, Any]:
    """By provider: how many there were of each, when the last came, and the number under which it is kept; `next` is
    null on the last page."""
    intake: Intake = request.app.state.node.intake
    found = list(islice(intake.letters.kinds(after or ""), limit + 1))
    return {
        "kinds": [
            {
                "id": f"u{letter.seq}",
                "provider": letter.provider,
                "kind": letter.kind[:100],
                "count": letter.number,
                "last_seen": letter.kept_at.isoformat(),
            }
            for _, letter in found[:limit]
        ],
        "next": found[limit - 1][0] if len(found) > limit else None,
    }
