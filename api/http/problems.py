"""Refusals as problem documents (RFC 9457). `type` repeats the refusal's stable code."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

import duckdb
import structlog
from eventsourcing.persistence import OperationalError
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from api.http.backpressure import ComeAgain, Stopping
from api.http.callers import NoToken, RoleRefused
from api.http.paging import NoSuchPlace
from api.http.parameters import UnknownParameter
from api.http.rate import TooOften
from api.http.roles import UnknownToken
from api.node import SERVER_HINT, ViewsBehind
from api.sql.refusals import QueriesBusy, QueryRefused
from domain import errors
from infra.crypto.master import KeysMissing
from infra.jwks import KeysUnavailable
from infra.logging import fault_of
from infra.oidc import TokenRefused
from projections.publishing import PublishingFailed

log = structlog.get_logger()

MAX_BODY_BYTES = 1_000_000
"""Of a request, where the route does not take more and count by itself."""

STATUS: dict[str, int] = {
    errors.InvalidInteraction.code: 422,
    errors.OccurredInFuture.code: 422,
    errors.OptInWithoutEvidence.code: 422,
    errors.InvalidModel.code: 422,
    errors.UnresolvedCandidate.code: 404,
    errors.UnknownPool.code: 404,
    errors.AmbiguousCandidate.code: 409,
    errors.NotContactable.code: 409,
    errors.MergeRefused.code: 409,
    errors.PoolRefused.code: 409,
    errors.ConcurrentChange.code: 409,
    errors.UnreadableCandidate.code: 500,
    errors.RequestRefused.code: 409,
    errors.ErasedCandidate.code: 410,
    "invalid-json": 400,
    "role-refused": 403,
    "too-large": 413,
}


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    """A problem document."""
    body = {"type": f"urn:rapport:problem:{code}", "title": code.replace("-", " "), "status": status, "detail": detail}
    return JSONResponse(body | more, status, headers, media_type="application/problem+json")


def too_large(path: str) -> JSONResponse:
    """For a body of more than `MAX_BODY_BYTES`."""
    more = "; send NDJSON for more, which may have any length" if path == "/v1/interactions" else ""
    return problem(413, "too-large", f"a request's body may have {MAX_BODY_BYTES:,} bytes here{more}")


def has_two_lengths(scope: Scope) -> bool:
    """Whether the request says in two ways how long it is: what lies before this node may have believed the other, and
    take its end for the beginning of another request (RFC 9112, 6.1 and 11.2)."""
    names = {name.lower() for name, _ in scope["headers"]}
    return {b"content-length", b"transfer-encoding"} <= names


def two_lengths() -> JSONResponse:
    """For such a request. Its connection ends."""
    said = "Content-Length and Transfer-Encoding may not come together"
    return problem(400, "ambiguous-length", said, {"Connection": "close"})


Handlers = dict[type[Exception], Callable[[Request, Any], JSONResponse]]
_Handler = TypeVar("_Handler", bound=Callable[[Request, Any], JSONResponse])


def as_problem(request: Request, error: Exception) -> JSONResponse:
    """The problem document with which `error` is answered."""
    handlers: Handlers = request.app.state.problems
    handler = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)
    return handler(request, error)


def _note(request: Request, error: Exception) -> None:
    """A fault in the log, without its message, which may quote a row; the route without what was asked for on it."""
    route = getattr(request.scope.get("route"), "path_format", None)
    correlation = getattr(request.state, "correlation", None)
    log.error("a request ended in a fault", route=route, correlation=correlation, **fault_of(error))


def install(app: Starlette) -> None:
    """Answers every refusal of the domain, and every fault of the parts below, with a problem document."""
    handlers: Handlers = {}
    app.state.problems = handlers

    def answers(kind: type[Exception]) -> Callable[[_Handler], _Handler]:
        def take(handler: _Handler) -> _Handler:
            async def at_once(request: Request, error: Exception) -> JSONResponse:
                return handler(request, error)  # a function would wait for one of the threads, which may all be busy

            handlers[kind] = handler
            app.add_exception_handler(kind, at_once)
            return handler

        return take

    @answers(errors.Refused)
    def _refused(_request: Request, error: errors.Refused) -> JSONResponse:
        return problem(STATUS.get(error.code, 409), error.code, str(error))

    @answers(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"] if p not in ("body", "query", "path"))
        return problem(422, "invalid-request", f"{place or 'request'}: {first['msg'].removeprefix('Value error, ')}")

    @answers(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return too_large(request.url.path)
        code = "too-slow" if error.status_code == HTTPStatus.REQUEST_TIMEOUT else "http"
        return problem(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @answers(ViewsBehind)
    def _behind(_request: Request, error: ViewsBehind) -> JSONResponse:
        return problem(503, "views-behind", str(error), {"Retry-After": "1"})

    @answers(duckdb.ConnectionException)
    def _reopening(_request: Request, _error: duckdb.ConnectionException) -> JSONResponse:
        return problem(503, "views-reopening", "the views' file is being opened again", {"Retry-After": "1"})

    @answers(KeysMissing)
    def _keys(_request: Request, error: KeysMissing) -> JSONResponse:
        return problem(503, "keys-missing", f"{error}; nothing was read or recorded")

    @answers(OperationalError)
    def _ledger(_request: Request, error: OperationalError) -> JSONResponse:
        return problem(503, "ledger-unavailable", f"{error}; {SERVER_HINT}", {"Retry-After": "1"})

    @answers(QueryRefused)
    def _query(_request: Request, error: QueryRefused) -> JSONResponse:
        return problem(error.status, error.code, str(error))

    @answers(PublishingFailed)
    def _publishing(_request: Request, error: PublishingFailed) -> JSONResponse:
        return problem(507, "snapshot-failed", str(error))

    @answers(NoToken)
    def _no_token(_request: Request, error: NoToken) -> JSONResponse:
        return problem(401, "no-token", str(error), {"WWW-Authenticate": "Bearer"})

    @answers(UnknownToken)
    @answers(TokenRefused)
    def _token(_request: Request, error: Exception) -> JSONResponse:
        return problem(401, "unknown-token", str(error), {"WWW-Authenticate": 'Bearer error="invalid_token"'})

    @answers(Stopping)
    def _stopping(_request: Request, error: Stopping) -> JSONResponse:
        return problem(503, "stopping", str(error), {"Retry-After": "5"})

    @answers(ClientDisconnect)
    def _gone(_request: Request, _error: ClientDisconnect) -> JSONResponse:
        return problem(400, "incomplete", "the request broke off")  # which nobody hears, and is no fault

    @answers(ComeAgain)
    def _again(_request: Request, error: ComeAgain) -> JSONResponse:
        return problem(503, error.code, str(error), {"Retry-After": str(error.retry_after_s)})

    @answers(TooOften)
    def _often(_request: Request, error: TooOften) -> JSONResponse:
        return problem(429, "too-many-requests", str(error), {"Retry-After": str(error.retry_after_s)})

    @answers(RoleRefused)
    def _role(_request: Request, error: RoleRefused) -> JSONResponse:
        return problem(403, "role-refused", str(error), {"WWW-Authenticate": 'Bearer error="insufficient_scope"'})

    @answers(KeysUnavailable)
    def _no_keys(_request: Request, error: KeysUnavailable) -> JSONResponse:
        return problem(503, "identity-provider-unavailable", str(error), {"Retry-After": "5"})

    @answers(NoSuchPlace)
    def _place(_request: Request, error: NoSuchPlace) -> JSONResponse:
        return problem(422, "invalid-request", str(error))

    @answers(UnknownParameter)
    def _parameter(_request: Request, error: UnknownParameter) -> JSONResponse:
        return problem(422, "unknown-parameter", str(error))

    @answers(Exception)
    def _fault(request: Request, error: Exception) -> JSONResponse:
        _note(request, error)
        return problem(500, "fault", f"a fault in Rapport ({type(error).__name__}); the node's log has the rest")

    @answers(QueriesBusy)
    def _busy(_request: Request, error: QueriesBusy) -> JSONResponse:
        return problem(503, "queries-busy", str(error), {"Retry-After": "1"})

    @answers(duckdb.Error)
    def _views(request: Request, error: duckdb.Error) -> JSONResponse:
        _note(request, error)
        return problem(500, "views-failed", f"the views cannot answer: {type(error).__name__}")
