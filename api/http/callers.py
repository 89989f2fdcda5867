"""Who asks: the token a request comes with, and whether its caller may have what the route is for."""

from dataclasses import dataclass, replace
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import Depends, Request

from api.http.roles import Role, Tokens, UnknownToken, roles_of
from api.http.threads import Threads
from domain.interaction import DEFAULT_ACTOR
from infra.jwks import KeysUnavailable
from infra.oidc import Claims, Issuer, TokenRefused

IDENTITY_PROVIDER = "oidc"

ACTING_FOR_OTHERS = frozenset({Role.SERVICE, Role.ADMIN})
"""They hand on what others did, in systems that know who it was."""


WIDEST_FIRST = (Role.ADMIN, Role.COMPLIANCE, Role.RECRUITER, Role.SERVICE, Role.ANALYST)


class NoToken(Exception):
    """The request presents no token, and the route is not open to anybody."""


class RoleRefused(Exception):
    """What is asked for is not for the caller's role."""


@dataclass(frozen=True)
class Caller:
    """Who asks, in which role."""

    role: Role
    token: str
    """Name of the token: that of its role, or `oidc` for one of the identity provider's."""
    subject: str | None = None
    """Who it is, as the identity provider calls them. A generated token stands for a role, and for nobody."""
    until: float | None = None
    """When the token ceases to count, in seconds since 1970; None for a generated one."""
    correlation: str | None = None
    """What ties this request to what comes of it; see `api.http.correlating`."""

    @property
    def name(self) -> str:
        """By which callers are told apart, where what each may have is counted."""
        return f"{self.token} {self.subject}"

    @property
    def actor(self) -> str:
        """As events name them."""
        return f"user:{self.subject or self.role}"

    def acting(self, said: str) -> str:
        """Who acts, when the request says `said`: the caller, whatever it says.

        A service and an admin may act for others, and anybody may report what a candidate did.
        """
        if self.role in ACTING_FOR_OTHERS:
            return self.actor if said == DEFAULT_ACTOR and self.subject is not None else said
        return said if said.startswith("candidate:") else self.actor


async def permitted(request: Request) -> None:
    """Takes the request when its caller may have what the route is for; notes who it is.

    The route declares that (`api.http.roles`). Raises NoToken, UnknownToken, TokenRefused, RoleRefused, TooOften or
    KeysUnavailable.
    """
    roles = roles_of(request.scope["route"].openapi_extra)
    if roles is None:
        return
    state = request.app.state
    try:
        caller = await _known(request, roles)
    except (NoToken, UnknownToken, TokenRefused, RoleRefused, KeysUnavailable):  # keys are asked for by anybody's token
        state.refused_rate.take("" if request.client is None else request.client.host)
        raise
    state.rate.take(caller.name)
    request.state.caller = replace(caller, correlation=request.state.correlation)
    if (found := caller.role) not in roles:
        names = f"the roles {', '.join(roles[:-1])} and {roles[-1]}" if len(roles) > 1 else f"the role {roles[0]}"
        raise RoleRefused(f"this is for {names}, and the caller is {found}; present another token")


async def _known(request: Request, roles: tuple[Role, ...]) -> Caller:
    token = _presented(request)
    issuer: Issuer | None = request.app.state.issuer
    if issuer is not None and issuer.is_one(token):
        threads: Threads = request.app.state.threads
        return _of_provider(await run_sync(issuer.verified, token, limiter=threads.tokens), roles)
    tokens: Tokens = request.app.state.tokens
    role = tokens.role_of(token)
    return Caller(role, role.value)


def _presented(request: Request) -> str:
    header = request.headers.get("authorization")
    if header is None:
        raise NoToken(
            "present a token, as `Authorization: Bearer …`: one of the roles' in tokens.json in the node's data folder"
        )
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise UnknownToken("of authorizations only `Authorization: Bearer` with a token is taken here")
    return token.strip()


def _of_provider(claims: Claims, wanted: tuple[Role, ...]) -> Caller:
    """Where the caller has several roles, in the widest of those that the route is for."""
    has = [role for role in WIDEST_FIRST if role.value in claims.roles]
    if not has:
        raise RoleRefused("the token is good, but gives its bearer none of the roles here")
    role = next((role for role in has if role in wanted), has[0])
    return Caller(role, IDENTITY_PROVIDER, claims.subject, claims.until)


async def _caller(request: Request) -> Caller:  # a coroutine: any other dependency waits for a thread
    caller: Caller = request.state.caller
    return caller


Calling = Annotated[Caller, Depends(_caller)]
"""Who calls a route that is not open to anybody."""
