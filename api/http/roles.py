"""What each role may do on every route. The tokens by which a node knows its own callers' roles."""

import hmac
import json
import os
import secrets
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from api.failures import NodeError


class Role(StrEnum):
    """The roles there are."""

    ANALYST = "analyst"
    RECRUITER = "recruiter"
    COMPLIANCE = "compliance"
    SERVICE = "service"
    ADMIN = "admin"


ROLES, OPEN_BECAUSE, BEARER = "x-roles", "x-open-because", "bearer"


def allowed(*roles: Role) -> dict[str, Any]:
    """For `openapi_extra` of a route: it is for callers of these roles."""
    return {ROLES: [role.value for role in Role if role in roles], "security": [{BEARER: []}]}


def open_to_anybody(because: str) -> dict[str, Any]:
    """For `openapi_extra` of a route that asks for no token; the reason is published with it."""
    return {ROLES: None, OPEN_BECAUSE: because, "security": []}


EVERY_ROLE = allowed(*Role)
"""Nothing in it is about a person whom the caller could name."""
PERSON = allowed(Role.RECRUITER, Role.COMPLIANCE, Role.SERVICE, Role.ADMIN)
"""Reads about one person or a list of them, names included, and writes what happened with them."""
RECRUITING = allowed(Role.RECRUITER, Role.SERVICE, Role.ADMIN)
"""Pools and merges: the daily work."""
COPIES = allowed(Role.ANALYST, Role.COMPLIANCE, Role.ADMIN)
"""Everything that is not personal, to take away."""
OFFICERS = allowed(Role.COMPLIANCE, Role.ADMIN)
"""Rights of data subjects, proofs, and who looked."""
OPERATORS = allowed(Role.ADMIN)
"""The node itself."""


def roles_of(extra: dict[str, Any] | None) -> tuple[Role, ...] | None:
    """Who may call a route with this `openapi_extra`; None for anybody. One that does not say is the admin's alone."""
    found: Iterable[str] | None = (extra or {}).get(ROLES, [Role.ADMIN])
    return None if found is None else tuple(map(Role, found))


class UnknownToken(Exception):
    """The request presents a token, and it is not one that counts here."""


class Tokens:
    """One random token of 256 bits a role, in a file for its owner only, made when there is none."""

    def __init__(self, tokens: dict[Role, str]) -> None:
        self._tokens = tokens

    @classmethod
    def of(cls, path: Path) -> "Tokens":
        """Those in `path`; roles without one get it now. Raises NodeError when the file is of no use.

        Of a node that starts and a command that comes at that moment one makes them, and both have the same.
        """
        found = _read(path) if (is_there := path.exists()) else {}
        tokens = {role: found.get(role.value) or secrets.token_urlsafe(32) for role in Role}
        if found != tokens and not _write(path, tokens, over=is_there):
            return cls.of(path)
        path.chmod(0o600)
        return cls(tokens)

    def role_of(self, token: str) -> Role:
        """The role that the token stands for. Raises UnknownToken. Takes as long for any token of one length."""
        matching = [r for r, t in self._tokens.items() if hmac.compare_digest(t.encode(), token.encode())]
        if not matching:
            raise UnknownToken(
                "this token is none of this node's: the tokens of its roles are in tokens.json in its data folder"
            )
        return matching[0]

    def __getitem__(self, role: Role) -> str:
        return self._tokens[role]


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found, dict) and all(isinstance(t, str) and len(t) >= 32 for t in found.values()):
            return found
        reason = "it is no object of role and token"
    except (OSError, ValueError) as error:
        reason = type(error).__name__
    raise NodeError(f"the roles' tokens in {path} cannot be read ({reason}); move the file away and new ones are made")


def _write(path: Path, tokens: dict[Role, str], *, over: bool) -> bool:
    """Whole or not at all, and never readable by others. False when somebody else made the file meanwhile."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(tokens, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    if over:
        beside.replace(path)
        return True
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        return False
    finally:
        beside.unlink()
    return True
