"""`Idempotency-Key`: the same request again gets the same answer, and is not carried out again.

After draft-ietf-httpapi-idempotency-key-header: a key is the caller's own, for one request; the same key with another
request is refused (422), and while the first is still being carried out (409). NDJSON may have any length and is read
once: its key is taken and nothing is kept. Interactions have ids that say the
same for as long as the ledger lasts; the key is for answers, and for commands, for a day.

What is kept of a request is its hash, under the hash of caller and key, both keyed with the ledger's own secret; of
the answer its status and its bytes, which hold ids without meaning. An answer that refuses, or that failed, be it
half-way, is not kept: the same may then be tried again. Of one that is too long to be kept it is known what was asked:
asked again it is carried out again, which changes nothing of interactions, and another request is refused.

Where NATS breaks between what was done and the keeping of its answer, the answer is given all the same, and kept as
soon as that can be done. Until then this node looks after the key, and asked again keeps the answer first; another
node says that the request is under way, and carries it out again only when that has lasted for too long.
"""

import asyncio
import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Any

import orjson
import structlog
from eventsourcing.persistence import IntegrityError, OperationalError
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.callers import Caller
from api.http.problems import MAX_BODY_BYTES, problem
from api.http.streaming import is_ndjson
from api.node import Node
from domain.event import utc_now
from infra.jetstream import Bucket

log = structlog.get_logger()

HEADER, REPLAYED, CONFLICT = "idempotency-key", "Idempotency-Replayed", 409
MAX_KEY_CHARS = 255
MAX_ANSWER_BYTES = 100_000
KEEP_S = 24 * 3600
TAKEN_OVER_AFTER_S = 120.0
"""Whoever began and was not heard of since has died; every command may be carried out again."""
AGAIN_S = 1.0
"""Until what could not be kept is tried again."""
TAKES_KEY = {"x-idempotency-key": True}
"""For `openapi_extra` of a route that answers with ids alone, by POST."""


class KeyRefused(Exception):
    """The key cannot be used for this request; `status` is 400, 409, 413 or 422."""

    def __init__(self, status: int, code: str, said: str) -> None:
        super().__init__(said)
        self.status, self.code = status, code


class Answered(Exception):
    """The request was carried out before: this is the answer it got."""

    def __init__(self, status: int, media_type: str, body: bytes) -> None:
        super().__init__()
        self.status, self.media_type, self.body = status, media_type, body


def forget(request: Request) -> None:
    """The answer to come says of what was done that it failed: it is not kept."""
    if (claim := request.scope.get("state", {}).get("once")) is not None:
        claim.is_whole = False


@dataclass
class Claim:
    """A key that this request holds, until its answer is there."""

    bucket: Bucket
    key: str
    request: str
    revision: int
    status: int = 0
    media_type: str = ""
    body: bytes = b""
    is_whole: bool = True
    """Whether all was done that was asked for."""

    def settle(self) -> None:
        """Keeps the answer if the request was carried out; else the key is free again. Raises OperationalError.

        Of one that somebody took over meanwhile nothing is changed.
        """
        if 200 <= self.status < 300 and self.is_whole:
            kept: dict[str, Any] = {"request": self.request}
            if len(self.body) <= MAX_ANSWER_BYTES:
                kept |= {"status": self.status, "type": self.media_type, "body": self.body.decode()}
            else:
                kept |= {"too_long": True}
            with suppress(IntegrityError):
                self.bucket.update(self.key, orjson.dumps(kept), self.revision)
        elif (found := self.bucket.get_entry(self.key)) is not None and found.revision == self.revision:
            self.bucket.destroy(self.key)


async def once(request: Request) -> None:
    """Claims the request's key, if it has one and the route takes one. Raises KeyRefused or Answered."""
    key = request.headers.get(HEADER)
    if key is None or not (request.scope["route"].openapi_extra or {}).keys() >= TAKES_KEY.keys():
        return
    if not 0 < len(key) <= MAX_KEY_CHARS or not key.isprintable():
        raise KeyRefused(400, "invalid-idempotency-key", f"an Idempotency-Key has 1 to {MAX_KEY_CHARS} characters")
    if is_ndjson(request.headers.get("content-type", "")):
        return  # its lines are recorded once as it is, and no answer is kept of a stream that may be of any length
    said = request.headers.get("content-length", "" if "transfer-encoding" in request.headers else "0")
    if not said.isdecimal() or int(said[:20]) > MAX_BODY_BYTES:
        detail = f"a request with an Idempotency-Key says its length, which may be {MAX_BODY_BYTES:,} bytes"
        raise KeyRefused(413, "too-large", detail)
    caller: Caller = request.state.caller
    whose = [caller.token, caller.subject, key]
    asked = [request.method, request.url.path, request.url.query, (await request.body()).decode("utf-8", "replace")]
    answers: Answers = request.app.state.answers
    request.state.once = await run_in_threadpool(answers.claim, orjson.dumps(whose), orjson.dumps(asked))


class Answers:
    """The answers of a day, in a bucket that every node of the ledger shares."""

    def __init__(self, bucket: Bucket, secret: Callable[[], bytes]) -> None:
        self._bucket, self._secret = bucket, secret
        self._late: dict[str, Claim] = {}
        self._lock = Lock()
        self._trying: asyncio.Task[None] | None = None

    def claim(self, whose: bytes, asked: bytes) -> Claim:
        """The key for this request. Raises KeyRefused, Answered or OperationalError."""
        secret = self._secret()
        key = _keyed(secret, whose)
        self._settle_late(key)
        return _claim(self._bucket, key, _keyed(secret, asked))

    async def settle(self, claim: Claim) -> None:
        """Settles the claim, now or as soon as NATS can be reached. For the loop of one HTTP server."""
        try:
            await run_in_threadpool(claim.settle)
        except OperationalError as error:
            log.warning("an answer is not kept for its key yet, trying again", reason=str(error))
            self._late[claim.key] = claim
            if self._trying is None or self._trying.done():
                self._trying = asyncio.create_task(self._settle_all_late())

    def _settle_late(self, key: str) -> None:
        with self._lock:
            if (claim := self._late.get(key)) is not None:
                claim.settle()
                del self._late[key]

    async def _settle_all_late(self) -> None:
        while late := tuple(self._late):
            await asyncio.sleep(AGAIN_S)
            for key in late:
                with suppress(OperationalError):
                    await run_in_threadpool(self._settle_late, key)


def _keyed(secret: bytes, content: bytes) -> str:
    return hmac.new(secret, b"idempotency " + content, sha256).hexdigest()


def _claim(bucket: Bucket, key: str, request: str) -> Claim:
    begun = orjson.dumps({"request": request})
    is_new = bucket.create(key, begun)
    found = bucket.get_entry(key)
    if found is None:
        raise KeyRefused(409, "request-under-way", "the request with this Idempotency-Key just ended; send it again")
    if is_new:
        return Claim(bucket, key, request, found.revision)
    kept: dict[str, Any] = orjson.loads(found.value)
    if kept["request"] != request:
        raise KeyRefused(422, "idempotency-key-reused", "another request had this Idempotency-Key; give each its own")
    if "status" in kept:
        raise Answered(kept["status"], kept["type"], kept["body"].encode())
    age_s = (utc_now() - found.recorded_at).total_seconds()
    if age_s < TAKEN_OVER_AFTER_S and "too_long" not in kept:
        raise KeyRefused(409, "request-under-way", "the request with this Idempotency-Key is still under way")
    try:
        return Claim(bucket, key, request, bucket.update(key, begun, found.revision))
    except IntegrityError:
        raise KeyRefused(409, "request-under-way", "the request with this Idempotency-Key is under way") from None


class KeepAnswers:
    """The middleware that keeps the answer of a request which holds a key. The answer is sent when it is kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes on."""
        held: list[Message] = []
        answers: Answers = scope["app"].state.answers

        async def sending(message: Message) -> None:
            claim: Claim | None = scope.get("state", {}).get("once")
            if claim is None:
                await send(message)
                return
            held.append(message)
            if message["type"] == "http.response.start":
                claim.status = message["status"]
                claim.media_type = dict(message["headers"]).get(b"content-type", b"").decode()
            else:
                claim.body += message.get("body", b"")
                if not message.get("more_body"):
                    scope["state"]["once"] = None
                    await answers.settle(claim)
                    for kept in held:
                        await send(kept)

        try:
            await self._app(scope, receive, sending)
        finally:
            if (claim := scope.get("state", {}).get("once")) is not None:
                claim.status = 0  # of an answer that did not come to its end nothing is kept
                await answers.settle(claim)


def install(app: FastAPI, node: Node) -> None:
    """Gives the application its answers of a day, and what it says when a key is refused or was answered."""
    bucket = Bucket(node.connection, "answers", replicas=node.settings.replicas, keep_s=KEEP_S)
    app.state.answers = Answers(bucket, node.keyring.pepper)
    app.add_middleware(KeepAnswers)

    @app.exception_handler(KeyRefused)
    def _refused(_request: Request, error: KeyRefused) -> JSONResponse:
        return problem(error.status, error.code, str(error), {"Retry-After": "1"} if error.status == CONFLICT else None)

    @app.exception_handler(Answered)
    def _answered(_request: Request, error: Answered) -> Response:
        return Response(error.body, error.status, {REPLAYED: "true"}, media_type=error.media_type)
