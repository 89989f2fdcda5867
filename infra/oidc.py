"""Tokens of an identity provider (OpenID Connect): JWTs in the sense of RFC 7519, checked as RFC 8725 advises.

A token counts when it is signed with one of the provider's own keys, for this audience, by this issuer, within its
time. What is in it counts only then. Nothing of a token is ever logged or quoted.
"""

import re
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, NamedTuple

import httpx
import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from infra.jwks import KeySet, document_at
from infra.settings import Settings, is_safe_url

ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""With a public key each. Never `none`, and never a shared secret, for which a public key could be taken."""
REQUIRED = ["exp", "iat", "iss", "aud", "sub"]
"""`nbf` counts where it is given; most providers leave it out."""
MAX_TOKEN_CHARS = 16_384
MAX_ROLES = 1_000
LATEST_S = 2**40
"""Later than this no token ends."""
_SUBJECT = re.compile(r"[^\x00-\x20\x7f][^\x00-\x1f\x7f]{0,254}")

_SAID = {
    ExpiredSignatureError: "it has expired",
    ImmatureSignatureError: "its time has not come yet",
    InvalidAudienceError: "it is for another audience",
    InvalidIssuerError: "it is of another issuer",
    InvalidSignatureError: "its signature does not fit",
    MissingRequiredClaimError: f"it lacks one of {', '.join(REQUIRED)}",
}


class TokenRefused(Exception):
    """The token is none that counts here; the message says why, and nothing of what is in it."""


class Claims(NamedTuple):
    """What a token that counts says: who its bearer is, and in which of our roles."""

    subject: str
    roles: frozenset[str]
    until: float
    """When the token ceases to count, in seconds since 1970."""


class Issuer:
    """The identity provider of a node."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        """By the settings `oidc_…`, of which the issuer and the audience are there."""
        self._issuer, self._audience = settings.oidc_issuer or "", settings.oidc_audience or ""
        self._leeway_s = settings.oidc_leeway_s
        self._claim, self._ours = settings.oidc_roles_claim, settings.oidc_role_of
        self._jwks_url = settings.oidc_jwks_url
        self._keys = KeySet(self._keys_url, clock)

    @staticmethod
    def is_one(token: str) -> bool:
        """Whether it has the form of a JWT, which a generated token never has."""
        return token.count(".") == 2

    def verified(self, token: str) -> Claims:
        """What the token says. Raises TokenRefused, or KeysUnavailable. May ask the provider, and then waits.

        Not for a thread that runs an event loop.
        """
        if len(token) > MAX_TOKEN_CHARS:
            raise TokenRefused("the token is refused: it is too long")
        try:
            header = jwt.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid")
            if algorithm not in ALGORITHMS:
                raise TokenRefused(f"the token is refused: of algorithms only {', '.join(ALGORITHMS)} are taken")
            if (key := self._keys.find(algorithm, key_id)) is None:
                raise TokenRefused("the token is refused: the identity provider has no such key")
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_s,
                options={"require": REQUIRED},
            )
        except (PyJWTError, ValueError, RecursionError) as error:
            why = next((said for kind, said in _SAID.items() if isinstance(error, kind)), "it is malformed")
            raise TokenRefused(f"the token is refused: {why}") from None
        subject = claims["sub"]
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise TokenRefused("the token is refused: its `sub` is no name")
        return Claims(subject, self._roles(claims), min(int(claims["exp"]), LATEST_S) + self._leeway_s)

    def _roles(self, claims: Mapping[str, Any]) -> frozenset[str]:
        found = at(claims, self._claim)
        values = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        return frozenset(self._ours[v] for v in values[:MAX_ROLES] if isinstance(v, str) and v in self._ours)

    async def _keys_url(self, http: httpx.AsyncClient) -> str:
        if self._jwks_url is not None:
            return self._jwks_url
        found = await document_at(http, self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        url = found["jwks_uri"]
        if found["issuer"] != self._issuer or not isinstance(url, str) or not is_safe_url(url):
            raise ValueError("the provider describes itself as another, or names an unsafe place for its keys")
        return url


def at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of this name, else what a dotted path leads to; None when there is no such thing."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def issuer_of(settings: Settings) -> Issuer | None:
    """The identity provider that is set; None when there is none, and the roles' own tokens are all that counts."""
    return None if settings.oidc_issuer is None else Issuer(settings)
