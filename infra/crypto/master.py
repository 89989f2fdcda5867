"""The master key: a small port, so that a KMS can take the place of the default key in a file."""

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Protocol

from eventsourcing.persistence import OperationalError

from infra.crypto import sealing


class MasterKeyError(Exception):
    """There is no usable master key; the message says which one is needed."""


class KeysMissing(MasterKeyError, OperationalError):
    """What was asked for needs a master key that is not there. Nothing was done; once the key is back it can be."""


class MasterKey(Protocol):
    """Wraps and unwraps the keys of aggregates. `key_id` names it without revealing it."""

    @property
    def key_id(self) -> str:
        """Eight bytes in hexadecimal."""

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """`key`, sealed for storage and bound to `context`."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key.

        Raises MasterKeyError when another master key wrapped it, SealBrokenError when it was altered.
        """


class LocalMasterKey:
    """A 256-bit key held in this process."""

    def __init__(self, key: bytes) -> None:
        if len(key) != sealing.KEY_BYTES:
            raise MasterKeyError("a master key has 32 bytes, written as base64 or 64 hexadecimal digits")
        self._key = key
        self._id = hashlib.sha256(b"rapport master key id" + key).digest()[:8]

    @property
    def key_id(self) -> str:
        """Eight bytes in hexadecimal, derived from the key one way."""
        return self._id.hex()

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """`key id (8) | sealed key`."""
        return self._id + sealing.seal(self._key, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key; see `MasterKey.unwrap`."""
        if wrapped[:8] != self._id:
            raise MasterKeyError(_another(key_id_of(wrapped), self.key_id))
        return sealing.unseal(self._key, wrapped[8:], context)


class MissingMasterKey:
    """In the place of a master key that was lost: it is known which one, and nothing is sealed with another."""

    def __init__(self, key_id: str, reason: str) -> None:
        """`reason` names the key, and says how to put it back."""
        self._id = key_id
        self.reason = reason

    @property
    def key_id(self) -> str:
        """Of the key that is missing."""
        return self._id

    def wrap(self, _key: bytes, _context: bytes) -> bytes:
        """Raises KeysMissing."""
        raise KeysMissing(self.reason)

    def unwrap(self, _wrapped: bytes, _context: bytes) -> bytes:
        """Raises KeysMissing."""
        raise KeysMissing(self.reason)


def local_master_key(configured: str | None, path: Path, needed: str | None = None) -> LocalMasterKey:
    """The key in `configured` (base64 or hex), else the one in the file at `path`.

    The file is made on first use, with mode 0600; not when a key `needed` is named, for then the first use was before
    and the file was lost. Raises MasterKeyError when there is no key or it cannot be read as one.
    """
    if configured:
        return LocalMasterKey(_decode(configured))
    try:
        if needed is not None or path.exists():
            return LocalMasterKey(_decode(path.read_text("ascii")))
        return _make(path)
    except FileNotFoundError:
        raise MasterKeyError(
            f"{path} is missing, and the ledger needs master key {needed}; put it back, or set RAPPORT_MASTER_KEY, "
            "and start the node again"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(f"{path} cannot be read as a master key ({type(error).__name__})") from None


def master_key(configured: str | None, path: Path, needed: str | None) -> MasterKey:
    """`local_master_key`, or where that is not the one `needed`, what stands in its place.

    Raises MasterKeyError when none is needed yet, and what was given is no key.
    """
    try:
        master = local_master_key(configured, path, needed)
    except MasterKeyError as error:
        if needed is None:
            raise
        reason = str(error)
        return MissingMasterKey(needed, reason if needed in reason else f"master key {needed} is needed: {reason}")
    return master if needed in (None, master.key_id) else MissingMasterKey(needed, _another(needed, master.key_id))


def _another(needed: str, given: str) -> str:
    return (
        f"master key {needed} is needed, {given} is set; put the right one into RAPPORT_MASTER_KEY or the data "
        "folder's master.key, and start the node again"
    )


def _make(path: Path) -> LocalMasterKey:
    key = sealing.new_key()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(key) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return LocalMasterKey(key)


def key_id_of(wrapped: bytes) -> str:
    """The id of the master key that wrapped a key."""
    return wrapped[:8].hex()


def _decode(text: str) -> bytes:
    text = text.strip()
    try:
        return bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise MasterKeyError("the master key is neither base64 nor hexadecimal") from None
