"""Who looked: every route says what it reads of persons, and no answer leaves before the access log holds a record.

A route declares it where it is made: `openapi_extra=reads(Read.PROFILE)`, or `reads_nothing(why)`. One that says
nothing is recorded as `undeclared`. About whom it reads it notes in the request's `Seen`, as soon as it knows.

The record is written when the answer is ready and nothing of it is sent, streams included: so it has the outcome, and
may be of an answer that then did not arrive, and never is there an answer without a record.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.callers import Caller
from api.http.problems import problem
from domain.access import MOST_NAMED, Access, Outcome, Read, Schema
from domain.event import utc_now
from infra.access_log import AccessLog, NotRecorded

READS, NOTHING_BECAUSE = "x-reads", "x-reads-nothing-because"
REQUEST_ID = b"rapport-request"


def reads(what: Read) -> dict[str, Any]:
    """For `openapi_extra` of a route that answers with personal data, or is recorded for another reason."""
    return {READS: what.value}


def reads_nothing(because: str) -> dict[str, Any]:
    """For `openapi_extra` of a route whose answers hold nothing about any person; the reason is published with it."""
    return {READS: None, NOTHING_BECAUSE: because}


WRITES = reads_nothing("it writes; the ledger holds what, and when")


@dataclass
class Seen:
    """What one request has to do with, as far as its route has noted it."""

    request: str = field(default_factory=lambda: uuid4().hex)
    candidates: list[str] = field(default_factory=list)
    count: int | None = None
    statement: str | None = None
    schemas: tuple[Schema, ...] = ()

    def person(self, candidate_id: str) -> None:
        """The answer is about this one person."""
        self.persons([candidate_id])

    def persons(self, candidate_ids: Iterable[str]) -> None:
        """The answer is about these persons."""
        self.candidates = list(dict.fromkeys(candidate_ids))
        self.count = len(self.candidates)

    def sql(self, statement: str, schemas: Iterable[Schema]) -> None:
        """The answer is what this statement gives, which names these schemas. The statement itself is not recorded."""
        self.statement = statement
        self.schemas = tuple(sorted(schemas))

    def access(self, what: Read, outcome: Outcome, route: str, caller: Caller | None) -> Access:
        """The record."""
        text = self.statement
        return Access(
            occurred_at=utc_now(),
            role="unknown" if caller is None else caller.role.value,
            token=None if caller is None else caller.token,
            subject=None if caller is None else caller.subject,
            what=what,
            outcome=outcome,
            route=route,
            request=self.request,
            candidates=tuple(self.candidates) if len(self.candidates) <= MOST_NAMED else (),
            count=self.count,
            schemas=self.schemas,
            statement=None if text is None else sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
            statement_chars=None if text is None else len(text),
        )


def _seen(request: Request) -> Seen:
    seen: Seen = request.state.seen
    return seen


Noting = Annotated[Seen, Depends(_seen)]
"""Where a route notes whom it reads about."""


class RecordedReads:
    """The middleware. It stands next to the routes, so that what is refused before them is not recorded."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, after the read is recorded; with 503 when it cannot be."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = scope.setdefault("state", {})["seen"] = Seen()
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start" and not begun:
                begun = True
                if await _record(scope, seen, outcome_of(message["status"])):
                    message["headers"] = [*message.get("headers", ()), (REQUEST_ID, seen.request.encode())]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except NotRecorded as error:
            answer = problem(503, "access-log-unavailable", _sentence(error), {"Retry-After": "1"})
            await answer(scope, receive, send)
        except Exception:
            if not begun:
                await _record(scope, seen, Outcome.FAILED)
            raise


async def _record(scope: Scope, seen: Seen, outcome: Outcome) -> bool:
    """Whether it was to be recorded, and is. Raises NotRecorded."""
    route = scope.get("route")
    if not isinstance(route, APIRoute) or scope["method"] not in (route.methods or ()):
        return False
    what = declared(route)
    if what is None:
        return False
    log: AccessLog = scope["app"].state.node.access_log
    caller: Caller | None = scope["state"].get("caller")
    await log.record(seen.access(what, outcome, f"{scope['method']} {route.path_format}", caller))
    return True


def declared(route: APIRoute) -> Read | None:
    """What a route says that it reads; None for nothing about anybody."""
    extra = route.openapi_extra or {}
    if READS not in extra:
        return Read.UNDECLARED
    return None if extra[READS] is None else Read(extra[READS])


def outcome_of(status: int) -> Outcome:
    """What an HTTP status says of a read."""
    if status < 400:
        return Outcome.SERVED
    return Outcome.REFUSED if status < 500 else Outcome.FAILED


def _sentence(error: NotRecorded) -> str:
    return f"this read could not be entered in the access log, so it is not answered ({error}); try again shortly"
