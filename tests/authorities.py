"""What servers know their clients by: certificates, nkeys, and the JWTs of NATS's operator mode; made for a test."""

from __future__ import annotations

import base64
import ipaddress
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.jetstream.nkey import SEED, Nkey, _check

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3


class Authority:
    """A certificate authority with a folder for what it issues: `ca.pem`, and `<name>.pem` with `<name>.key`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self.ca = folder / "ca.pem"
        self._write(self.ca, self._signed(self._name, self._key, ca=True))

    def issue(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """Certificate and key of `name`, good for these hosts and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        cert, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._write(cert, self._signed(subject, key, hosts=hosts))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return cert, private

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, hosts: tuple[str, ...] = (), ca: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if hosts:
            names = [x509.IPAddress(ipaddress.ip_address(h)) if h[0].isdigit() else x509.DNSName(h) for h in hosts]
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return made.sign(self._key, hashes.SHA256())

    def _write(self, path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def new_nkey(kind: int) -> Nkey:
    """A fresh pair."""
    return Nkey(kind, Ed25519PrivateKey.generate())


def seed_of(pair: Nkey) -> str:
    """The seed as NATS's tools write it."""
    body = bytes([SEED | pair.kind >> 5, (pair.kind & 31) << 3]) + pair.private.private_bytes_raw()
    return base64.b32encode(body + _check(body)).decode().rstrip("=")


def creds(user: Nkey, jwt: str) -> str:
    """A `.creds` file."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "NKEY Seed printed below can be used to sign and prove identity.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed_of(user)}\n------END USER NKEY SEED------\n"
    )


class Operator:
    """NATS's operator mode: an operator, its system account, and an account with JetStream."""

    def __init__(self) -> None:
        self._pair = new_nkey(OPERATOR)
        self._accounts = {"system": new_nkey(ACCOUNT), "app": new_nkey(ACCOUNT)}

    def config(self) -> str:
        """The part of a server's configuration that makes it trust this operator."""
        system = self._accounts["system"].public
        held = {pair.public: self._account_jwt(name, pair) for name, pair in self._accounts.items()}
        operator = _jwt(self._pair, self._pair, "operator", {"type": "operator", "system_account": system})
        preload = "\n".join(f"  {public}: {jwt}" for public, jwt in held.items())
        return (
            f"operator: {operator}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n{preload}\n}}\n"
        )

    def credentials(self, path: Path, account: str = "app", valid_s: float | None = None) -> Path:
        """A `.creds` file for a new user of the account, written to `path`."""
        user = new_nkey(USER)
        claims = {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        jwt = _jwt(self._accounts[account], user, "someone", claims, valid_s)
        path.write_text(creds(user, jwt))
        return path

    def _account_jwt(self, name: str, pair: Nkey) -> str:
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1} if name == "app" else {}
        limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
        claims = {"type": "account", "limits": limits | storage | {"wildcards": True}, "default_permissions": {}}
        return _jwt(self._pair, pair, name, claims)


def _jwt(issuer: Nkey, subject: Nkey, name: str, claims: dict[str, Any], valid_s: float | None = None) -> str:
    now = int(time.time())
    content: dict[str, Any] = {
        "jti": secrets.token_hex(16),
        "iat": now,
        "iss": issuer.public,
        "name": name,
        "sub": subject.public,
        "nats": claims | {"version": 2},
    }
    if valid_s is not None:
        content["exp"] = int(now + valid_s)
    parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, content]
    signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_base64(issuer.private.sign(signed.encode()))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
