"""NATS's Ed25519 keys in their written form: base32 over a prefix, the key, and a CRC-16."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SEED = 18 << 3
"""The prefix of a seed, written `S`; the prefix of whose seed it is follows in the next eight bits."""


class Nkey(NamedTuple):
    """A key pair; `kind` is the prefix of its public key (`U` for a user)."""

    kind: int
    private: Ed25519PrivateKey

    @classmethod
    def read(cls, seed: str) -> Self:
        """The pair of a seed (`SU…`). Raises ValueError, which does not repeat it, when it is none."""
        try:
            raw = base64.b32decode(seed.strip() + "=" * (-len(seed.strip()) % 8))
        except binascii.Error:
            raise ValueError("not a seed of NATS") from None
        body, check = raw[:-2], raw[-2:]
        if len(body) != 34 or body[0] & 0xF8 != SEED or check != _check(body):
            raise ValueError("not a seed of NATS")
        return cls((body[0] & 0x07) << 5 | body[1] >> 3, Ed25519PrivateKey.from_private_bytes(body[2:]))

    @property
    def public(self) -> str:
        """The public key as servers are configured with it (`U…`)."""
        body = bytes([self.kind]) + self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.b32encode(body + _check(body)).decode().rstrip("=")

    def sign(self, nonce: str) -> bytes:
        """The signature of what the server gave to be signed, in base64."""
        return base64.b64encode(self.private.sign(nonce.encode()))


def _check(body: bytes) -> bytes:
    return binascii.crc_hqx(body, 0).to_bytes(2, "little")
