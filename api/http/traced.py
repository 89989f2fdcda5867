"""A span for each request, where an operator's collector is told of them; see `infra.tracing`."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra import tracing

DOOR, DOOR_ROUTE = "/v1/webhooks/", "/v1/webhooks/{provider}"


class Traced:
    """The middleware, behind the one that gives a request its correlation. Of the address there is the route's
    template, and of the answer the status."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation = scope["state"]["correlation"]
        with tracing.request(scope["method"], correlation, Headers(scope=scope).get("traceparent")) as span:

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.answered(message["status"])
                await send(message)

            try:
                await self._app(scope, receive, sending)
            except Exception:
                span.answered(HTTPStatus.INTERNAL_SERVER_ERROR)  # by what stands before all middleware
                raise
            finally:
                if (route := route_of(scope)) is not None:
                    span.routed(route)


def route_of(scope: Scope) -> str | None:
    """The template of the route that a request came to, which holds nothing of it; None where it came to none."""
    if scope["path"].startswith(DOOR):  # taken before the routes; what is behind the provider's name may be a secret
        return DOOR_ROUTE
    return getattr(scope.get("route"), "path_format", None)
