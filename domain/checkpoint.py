"""Signed notes and the checkpoints of a log, as C2SP has them (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).

A note is a text, an empty line and one line a signature: `— <key name> base64(key id | signature)`. A checkpoint is a
note whose text is three lines: the log's origin, the size of its tree, the root in base64. Keys are Ed25519; computing
and checking their signatures is left to whoever has a cipher, as a `Check`.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

ED25519 = b"\x01"
"""The signature type of Ed25519 (signed-note)."""
KEY_BYTES = 32
HASH_BYTES = 32
MOST_SIGNATURES = 100
ORIGIN = r"[^\s+\x00-\x1f\x7f]{1,200}"
"""What the name of a key and the origin of a log may be: no spaces and no plus (signed-note), nothing invisible."""

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE = re.compile(r"— (\S+) ([A-Za-z0-9+/=]+)")

Check = Callable[[bytes, bytes, bytes], bool]
"""Whether, under this public key, this is the signature of this message."""


class NoteMalformed(ValueError):
    """It is no note, no checkpoint or no verifying key; the message says what is wrong with it."""


class NoteForged(ValueError):
    """The note carries no signature of the key, or one that does not fit its text."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and the name it signs under."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of one name apart (signed-note, Ed25519 signatures)."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as text: `<name>+<id>+base64(type | public key)`."""
        return f"{self.name}+{self.id.hex()}+{b64encode(ED25519 + self.public).decode()}"

    @staticmethod
    def of(vkey: str) -> "VerifyingKey":
        """The key in a text. Raises NoteMalformed unless it is an Ed25519 key whose id fits."""
        name, _, rest = vkey.partition("+")
        hex_id, _, encoded = rest.partition("+")
        public = decoded(encoded)
        if not re.fullmatch(ORIGIN, name) or public[:1] != ED25519 or len(public) != 1 + KEY_BYTES:
            raise NoteMalformed("a verifying key is written <name>+<8 hexadecimal digits>+<base64 of an Ed25519 key>")
        key = VerifyingKey(name, public[1:])
        if key.id.hex() != hex_id:
            raise NoteMalformed(f"the verifying key of {name} does not have the id {hex_id[:8]!r} written beside it")
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log commits to: its first `size` entries, by the root of the tree over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text of the note."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @staticmethod
    def of(text: str) -> "Checkpoint":
        """The checkpoint in a note's text; extension lines are passed over. Raises NoteMalformed."""
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 3 or not all(lines) or not text.endswith("\n"):
            raise NoteMalformed("a checkpoint has an origin, a size and a root, a line each")
        root = decoded(lines[2])
        if not _SIZE.fullmatch(lines[1]) or len(root) != HASH_BYTES:
            raise NoteMalformed("the size or the root of the checkpoint cannot be read")
        return Checkpoint(lines[0], int(lines[1]), root)


def signed(text: str, key: VerifyingKey, signature: bytes) -> str:
    """The note: `text`, and the signature of it by `key`. Raises NoteMalformed when `text` cannot be one's."""
    _require_text(text)
    return f"{text}\n— {key.name} {b64encode(key.id + signature).decode()}\n"


def opened(note: str, key: VerifyingKey, check: Check) -> str:
    """The text that `key` signed. Signatures of others are passed over.

    Raises NoteMalformed when it is no note, NoteForged when `key` did not sign it.
    """
    text, _, block = note.rpartition("\n\n")
    text += "\n"
    lines = block.removesuffix("\n").split("\n")
    signatures = [_SIGNATURE.fullmatch(line) for line in lines]
    if not block.endswith("\n") or not all(signatures) or len(lines) > MOST_SIGNATURES:
        raise NoteMalformed("a note is a text, an empty line and a line for each signature")
    _require_text(text)
    found = [decoded(s[2]) for s in signatures if s is not None and s[1] == key.name]
    ours = [signature[4:] for signature in found if signature[:4] == key.id]
    if not ours:
        raise NoteForged(f"it is not signed by {key.name} with key {key.id.hex()}")
    if not all(check(key.public, signature, text.encode()) for signature in ours):
        raise NoteForged(f"the signature by {key.name} with key {key.id.hex()} does not fit its text")
    return text


def decoded(text: str) -> bytes:
    """The bytes in base64, written the one way there is. Raises NoteMalformed."""
    try:
        found = b64decode(text, validate=True)
    except ValueError:
        raise NoteMalformed("it holds something that is not base64") from None
    if b64encode(found).decode() != text:
        raise NoteMalformed("it holds base64 that nobody writes")
    return found


def _require_text(text: str) -> None:
    if not text.endswith("\n") or any(c < " " and c != "\n" for c in text):
        raise NoteMalformed("the text of a note ends in a line break and holds no control characters")
