"""How to reach the servers of a ledger and be let in: addresses, one login, TLS."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from eventsourcing.persistence import OperationalError

from infra.jetstream.nkey import Nkey

T = TypeVar("T")

PORT = 4222
_CREDENTIALS = re.compile(r"-+BEGIN (?:NATS USER JWT|USER NKEY SEED)-+\s+(\S+)\s+-+END")


class AccessError(OperationalError):
    """What is said about the servers or the login is of no use; one sentence, which repeats no secret."""


@dataclass(frozen=True)
class Access:
    """Addresses without login, and the login and TLS as options of nats-py. It does not show what is secret."""

    servers: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict, repr=False)


def access(
    servers: str | Sequence[str],
    *,
    token: str | None = None,
    credentials: Path | None = None,
    nkey: Path | None = None,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    server_name: str | None = None,
    named: str = "NATS_",
) -> Access:
    """`servers` are addresses (`nats://host:port`, `tls://host:port`), several as a sequence or separated by commas.

    The login is one of: user and password, or a token, in the addresses (`nats://user:password@host`); `token`; a
    `credentials` file (`.creds`, read again at every reconnect, so that it may be replaced); an `nkey` file with a
    seed. A `tls://` address, `ca`, `cert` or `server_name` asks for TLS on all servers, and none is spoken to without.
    `ca` replaces the system's authorities; `cert` (with `key`, unless the file has both) is the client's own;
    `server_name` is what the servers' certificates must name, if not the host.

    Raises AccessError, naming a setting by its name in capitals behind `named`, for an address that is none, a file
    that cannot be read or holds something else, and more than one login.
    """
    addresses = [
        part
        for text in ([servers] if isinstance(servers, str) else servers)
        for part in text.split(",")
        if part.strip()
    ]
    if not addresses:
        raise AccessError(f"{named}URL names no server; it takes nats://host:port, several separated by commas")
    found = [_address(address.strip(), named) for address in addresses]
    logins = {"URL": _login_of({login for _, login in found if login}, named)} | {
        "TOKEN": {"token": token} if token else None,
        "CREDENTIALS": _credentials(credentials, f"{named}CREDENTIALS") if credentials else None,
        "NKEY": _seed(nkey, f"{named}NKEY") if nkey else None,
    }
    given = [name for name, login in logins.items() if login]
    if len(given) > 1:
        raise AccessError(f"there is more than one login; give only one of {', '.join(named + name for name in given)}")
    options = (logins[given[0]] or {}) if given else {}
    hosts = [host for host, _ in found]
    if any(host.startswith("tls://") for host in hosts) or ca or cert or key or server_name:
        hosts = ["tls://" + host.partition("://")[2] for host in hosts]
        options = options | {"tls": _tls(ca, cert, key, named)} | ({"tls_hostname": server_name} if server_name else {})
    return Access(tuple(hosts), options)


def _address(text: str, named: str) -> tuple[str, tuple[str, str | None] | None]:
    """The address without login, and the login in it. What was given is not repeated: it may be a password."""
    try:
        url = urlsplit(text if "://" in text else f"nats://{text}")
        host, port = url.hostname, url.port or PORT
    except ValueError:
        host, port = None, 0
    if host is None or url.scheme not in ("nats", "tls") or url.path.strip("/") or url.query or url.fragment:
        raise AccessError(
            f"{named}URL holds what is no server; an address is nats://host:port or tls://host:port, "
            "and special characters of a password in it are written as %XX"
        )
    login = None if url.username is None else (unquote(url.username), url.password and unquote(url.password))
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}:{port}", login


def _login_of(logins: set[tuple[str, str | None]], named: str) -> dict[str, Any] | None:
    if len(logins) > 1:
        raise AccessError(f"the servers in {named}URL have different logins; one cluster takes one login")
    for user, password in logins:
        return {"token": user} if password is None else {"user": user, "password": password}
    return None


def _credentials(path: Path, name: str) -> dict[str, Any]:
    def read() -> tuple[str, Nkey]:
        jwt, seed = _CREDENTIALS.findall(_text(path, name))[:2]
        return jwt, Nkey.read(seed)

    def jwt() -> bytes:
        return _again(read, name)[0].encode()

    def sign(nonce: str) -> bytes:
        return _again(read, name)[1].sign(nonce)

    _checked(read, path, name, "a user's JWT and seed as in a .creds file")
    return {"user_jwt_cb": jwt, "signature_cb": sign}


def _seed(path: Path, name: str) -> dict[str, Any]:
    pair = _checked(lambda: Nkey.read(_text(path, name)), path, name, "the seed of an nkey (SU…)")
    return {"public_nkey": pair.public, "signature_cb": pair.sign}


def _checked(read: Callable[[], T], path: Path, name: str, content: str) -> T:
    try:
        return read()
    except ValueError:
        raise AccessError(f"{name}: {path} does not hold {content}") from None


def _again(read: Callable[[], T], name: str) -> T:
    """What a reconnect reads; OSError is what nats-py takes for a reason to try once more."""
    try:
        return read()
    except (ValueError, AccessError):
        raise OSError(f"{name} cannot be read any more") from None


def _text(path: Path, name: str) -> str:
    return _bytes(path, name).decode()


def _bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AccessError(f"{name}: {path} cannot be read: {error.strerror}") from None


def _tls(ca: Path | None, cert: Path | None, key: Path | None, named: str) -> ssl.SSLContext:
    for path, name in ((ca, "CA"), (cert, "CERT"), (key, "KEY")):
        if path is not None:
            _bytes(path, named + name)
    if key is not None and cert is None:
        raise AccessError(f"{named}KEY is of no use without {named}CERT")
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise AccessError(f"{named}CA: {ca} does not hold certificates in PEM form") from None
    if cert is not None:
        try:
            context.load_cert_chain(cert, key, password="")
        except (ssl.SSLError, ValueError):
            raise AccessError(
                f"{named}CERT: {cert} and {key or 'the key in it'} are not a certificate in PEM form "
                "and its key without passphrase"
            ) from None
    return context
