"""`Idempotency-Key`: the same request again gets the same answer, and is not carried out again.

After draft-ietf-httpapi-idempotency-key-header: a key is the caller's own, for one request; the same key with another
request is refused (422), and while the first is still being carried out (409). Interactions have ids that say the
same for as long as the ledger lasts; the key is for answers, and for commands, for a day.

What is kept of a request is its hash, under the hash of caller and key, both keyed with the ledger's own secret; of
the answer its status and its bytes, which hold ids without meaning. An answer that refuses, or that failed, is not
kept: the same may then be tried again.
"""

import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
from eventsourcing.persistence import IntegrityError
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.callers import Caller
from api.http.problems import MAX_BODY_BYTES, problem
from api.node import Node
from domain.event import utc_now
from infra.jetstream import Bucket

HEADER, REPLAYED, CONFLICT = "idempotency-key", "Idempotency-Replayed", 409
MAX_KEY_CHARS = 255
MAX_ANSWER_BYTES = 100_000
KEEP_S = 24 * 3600
TAKEN_OVER_AFTER_S = 120.0
"""Whoever began and was not heard of since has died; every command may be carried out again."""
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

    def settle(self) -> None:
        """Keeps the answer if the request was carried out; else the key is free again."""
        if 200 <= self.status < 300 and len(self.body) <= MAX_ANSWER_BYTES:
            kept = {"request": self.request, "status": self.status, "type": self.media_type, "body": self.body.decode()}
            with suppress(IntegrityError):  # somebody took it over
                self.bucket.update(self.key, orjson.dumps(kept), self.revision)
        else:
            self.bucket.destroy(self.key)


async def once(request: Request) -> None:
    """Claims the request's key, if it has one and the route takes one. Raises KeyRefused or Answered."""
    key = request.headers.get(HEADER)
    if key is None or not (request.scope["route"].openapi_extra or {}).keys() >= TAKES_KEY.keys():
        return
    if not 0 < len(key) <= MAX_KEY_CHARS or not key.isprintable():
        raise KeyRefused(400, "invalid-idempotency-key", f"an Idempotency-Key has 1 to {MAX_KEY_CHARS} characters")
    if "ndjson" in request.headers.get("content-type", ""):
        raise KeyRefused(400, "invalid-idempotency-key", "the lines of a stream have ids of their own, and need no key")
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

    def claim(self, whose: bytes, asked: bytes) -> Claim:
        """The key for this request. Raises KeyRefused or Answered."""
        secret = self._secret()
        return _claim(self._bucket, _keyed(secret, whose), _keyed(secret, asked))


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
    if (utc_now() - found.recorded_at).total_seconds() < TAKEN_OVER_AFTER_S:
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
                    await run_in_threadpool(claim.settle)
                    for kept in held:
                        await send(kept)

        try:
            await self._app(scope, receive, sending)
        finally:
            if (claim := scope.get("state", {}).get("once")) is not None:
                await run_in_threadpool(claim.bucket.destroy, claim.key)


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
