"""One literal subject per aggregate: `<prefix>.<kind>.<shard>.<id>`, and back.

Reading one aggregate by a literal subject takes 1 ms among a million messages, by a wildcard 120 ms, and optimistic
concurrency is only safe on literal subjects.
"""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

from eventsourcing.persistence import DataError

_KIND_AND_HEX = re.compile(r"([a-z]+)-([0-9a-f]{32})\Z")


def subject_of(prefix: str, originator_id: UUID | str) -> str:
    """The subject of an aggregate's events; different ids never share one.

    `candidate-<32 hex>` becomes `<prefix>.candidate.<first two hex>.<32 hex>`, a UUID gets the kind `uuid`, and any
    other text the kind `name` with the text in hex. Raises DataError for text that UTF-8 cannot hold.
    """
    if isinstance(originator_id, UUID):
        return f"{prefix}.uuid.{originator_id.hex[:2]}.{originator_id.hex}"
    match = _KIND_AND_HEX.match(originator_id)
    if match is not None and match[1] not in ("uuid", "name"):
        return f"{prefix}.{match[1]}.{match[2][:2]}.{match[2]}"
    try:
        text = originator_id.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"an aggregate id must be text that UTF-8 can hold: {error.reason}") from None
    return f"{prefix}.name.{hashlib.sha256(text).hexdigest()[:2]}.x{text.hex()}"


def originator_of(prefix: str, subject: str) -> UUID | str:
    """The aggregate id that `subject_of` made this subject from. Raises ValueError for any other subject."""
    tokens = subject.removeprefix(prefix + ".").split(".")
    if not subject.startswith(prefix + ".") or len(tokens) != 3:
        raise ValueError(f"{subject!r} is not the subject of an aggregate under {prefix!r}")
    kind, _, token = tokens
    if kind == "uuid":
        return UUID(int=int(token, 16))
    if kind == "name":
        return bytes.fromhex(token[1:]).decode()
    return f"{kind}-{token}"


def originator_if_usual(prefix: bytes, subject: bytes, text: bytes) -> UUID | str | None:
    """The aggregate id that `text` says, if it is a UUID or `<kind>-<32 hex>` and `subject` is its subject; else None.

    What `originator_of` would say of most subjects, at half the cost.
    """
    kind, _, token = text.partition(b"-")
    if len(token) == 32:
        return text.decode() if subject == b"%b.%b.%b.%b" % (prefix, kind, token[:2], token) else None
    token = text.replace(b"-", b"")
    if len(token) != 32 or subject != b"%b.uuid.%b.%b" % (prefix, token[:2], token):
        return None
    return UUID(int=int(token, 16))
