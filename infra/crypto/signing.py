"""The key that a node signs checkpoints and evidence with: Ed25519 (RFC 8032), in a file or a setting."""

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.checkpoint import VerifyingKey, signed

SEED_BYTES = 32


class SigningKeyError(Exception):
    """There is no usable signing key; the message says what to do."""


class SigningKey:
    """An Ed25519 key of this process. Nothing it hands out reveals it."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise SigningKeyError("a signing key has 32 bytes, written as base64 or 64 hexadecimal digits")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def named(self, name: str) -> VerifyingKey:
        """The verifying key, under the name that it signs with."""
        return VerifyingKey(name, self._key.public_key().public_bytes_raw())

    def note(self, text: str, name: str) -> str:
        """`text` as a signed note (`domain.checkpoint`)."""
        return signed(text, self.named(name), self._key.sign(text.encode()))


def check(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is one of `message` under the 32 bytes of an Ed25519 public key."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def local_signing_key(configured: str | None, path: Path, *, signed_before: bool) -> SigningKey:
    """The key in `configured` (base64 or hex), else the one in the file at `path`.

    The file is made on first use, with mode 0600; not when something was `signed_before`, for then it was lost. Raises
    SigningKeyError when there is no key or it cannot be read as one.
    """
    if configured:
        return SigningKey(_decode(configured))
    try:
        if signed_before or path.exists():
            return SigningKey(_decode(path.read_text("ascii")))
        return _make(path)
    except FileNotFoundError:
        raise SigningKeyError(
            f"{path} is missing, and checkpoints were signed with it; put it back, or set RAPPORT_SIGNING_KEY; if it "
            "is lost, move the folder of checkpoints away: the log is then signed anew with a new key"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SigningKeyError(f"{path} cannot be read as a signing key ({type(error).__name__})") from None


def _make(path: Path) -> SigningKey:
    """A new key, in a file that is there whole or not at all."""
    seed = os.urandom(SEED_BYTES)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(seed) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    return SigningKey(seed)


def _decode(text: str) -> bytes:
    text = text.strip()
    try:
        return bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise SigningKeyError("the signing key is neither base64 nor hexadecimal") from None
