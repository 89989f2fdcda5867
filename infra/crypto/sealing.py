"""Sealing: AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce.

A sealed value is `0x01 | nonce (12) | ciphertext | tag (16)`; the first byte names this construction, so that
another can follow without touching what is stored.
"""

import os
from functools import lru_cache
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CONSTRUCTION = b"\x01"
NONCE_BYTES = 12
KEY_BYTES = 32


class SealBrokenError(Exception):
    """The value was altered, belongs elsewhere, or another key sealed it."""


class DamagedKey(bytes):
    """In the place of a key that is there and cannot be unwrapped: it seals and opens nothing, and says why."""

    def __new__(cls, reason: str) -> Self:
        """`reason` is for people, with the way out."""
        made = super().__new__(cls)
        made.reason = reason
        return made

    reason: str


def forget_keys() -> None:
    """Drops every key that was kept at hand to spare setting its cipher up again."""
    _cipher.cache_clear()


def new_key() -> bytes:
    """A fresh 256-bit key."""
    return AESGCM.generate_key(bit_length=KEY_BYTES * 8)


def seal(key: bytes, plaintext: bytes, context: bytes, nonce: bytes | None = None) -> bytes:
    """`plaintext` sealed under `key` and bound to `context`. `nonce` is for golden files only.

    Raises SealBrokenError for a damaged key.
    """
    nonce = nonce or os.urandom(NONCE_BYTES)
    return CONSTRUCTION + nonce + _cipher(_whole(key)).encrypt(nonce, plaintext, context)


def unseal(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """The plaintext.

    Raises SealBrokenError unless `key` sealed exactly these bytes for `context`.
    """
    key = _whole(key)
    if sealed[:1] != CONSTRUCTION:
        raise SealBrokenError("sealed by a construction this version does not know")
    nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return _cipher(key).decrypt(nonce, ciphertext, context)
    except (InvalidTag, ValueError):
        raise SealBrokenError("the seal does not fit its key and place") from None


def _whole(key: bytes) -> bytes:
    if isinstance(key, DamagedKey):
        raise SealBrokenError(key.reason)
    return key


@lru_cache(maxsize=4096)  # 2.5 kB each
def _cipher(key: bytes) -> AESGCM:
    return AESGCM(key)
