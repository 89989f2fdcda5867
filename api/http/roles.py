"""Who asks: the role a request comes with, and what each role may do in SQL."""

import hmac
import json
import os
import secrets
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from fastapi import Request

from api.node import NodeError
from api.sql.rights import Rights


class Role(StrEnum):
    """The roles there are."""

    ANALYST = "analyst"
    RECRUITER = "recruiter"
    COMPLIANCE = "compliance"
    SERVICE = "service"
    ADMIN = "admin"


_OPEN, _ALL = ("main",), ("main", "pii", "ops")

RIGHTS: dict[Role, Rights] = {
    #                      schemas  seconds  rows       bytes of the answer  memory
    Role.ANALYST: Rights(_OPEN, 60.0, 1_000_000, 250_000_000, "512MB"),
    Role.RECRUITER: Rights(_OPEN, 60.0, 1_000_000, 250_000_000, "512MB"),
    Role.SERVICE: Rights(_OPEN, 60.0, 1_000_000, 250_000_000, "512MB"),
    Role.COMPLIANCE: Rights(_ALL, 300.0, 5_000_000, 1_000_000_000, "1GB"),
    Role.ADMIN: Rights(_ALL, 300.0, 5_000_000, 1_000_000_000, "1GB"),
}
"""A recruiter sees personal data person by person, in profile and timeline, and not by the table."""


class UnknownToken(Exception):
    """The request presents a token that is none of this node's."""


class RoleRefused(Exception):
    """What is asked for is not for the caller's role."""


class Tokens:
    """One random token of 256 bits a role, in a file for its owner only, made when there is none."""

    def __init__(self, tokens: dict[Role, str]) -> None:
        self._tokens = tokens

    @classmethod
    def of(cls, path: Path) -> "Tokens":
        """Those in `path`; roles without one get it now. Raises NodeError when the file is of no use."""
        found = _read(path) if path.exists() else {}
        tokens = {role: found.get(role.value) or secrets.token_urlsafe(32) for role in Role}
        if found != tokens:
            _write(path, tokens)
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


def role_of(request: Request) -> Role:
    """The caller's role, by `Authorization: Bearer …`; an analyst's without one. Raises UnknownToken."""
    header = request.headers.get("authorization")
    if header is None:
        return Role.ANALYST
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise UnknownToken("of authorizations only `Authorization: Bearer` with a role's token is taken here")
    tokens: Tokens = request.app.state.tokens
    return tokens.role_of(token.strip())


def only(*roles: Role) -> Callable[[Request], Role]:
    """A dependency that takes callers of these roles. It raises RoleRefused, or UnknownToken."""

    def required(request: Request) -> Role:
        role = role_of(request)
        if role not in roles:
            names = " and ".join(roles)
            raise RoleRefused(f"this is for the roles {names}, and the caller is {role}; present one's token")
        return role

    return required


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found, dict) and all(isinstance(t, str) and len(t) >= 32 for t in found.values()):
            return found
        reason = "it is no object of role and token"
    except (OSError, ValueError) as error:
        reason = type(error).__name__
    raise NodeError(f"the roles' tokens in {path} cannot be read ({reason}); move the file away and new ones are made")


def _write(path: Path, tokens: dict[Role, str]) -> None:
    """Whole or not at all, and never readable by others."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(tokens, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
