"""An evidence file: one data subject's events exactly as stored, each proved to be in the log, under two signatures.

It is one JSON document. The log's key signs a *checkpoint*, the root over all events of everybody, and a *statement*
over this document, in which stand the records of the person with the number of events each has. The bytes of each event
lead to the root by its inclusion proof; its versions count from 1 to the number stated, so that an event left out
shows. `docs/proof.md` says what this proves and what it does not. Verification is in `domain/verifying.py`, and without
this code in `docs/verify_evidence.py`.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from domain.checkpoint import Checkpoint
from domain.errors import Refused
from domain.event import HexId

FORMAT = "rapport-evidence"
VERSION = 1
MOST_BYTES = 64_000_000
"""No evidence file is larger; it is not even read."""


ENVELOPE = frozenset({"v", "occurred_at", "actor_kind", "source", "channel", "correlation", "sealed"})
SEALED_BUT_TOLD = frozenset({"evidence", "message"})
"""What a readable step says that stands in the sealed part of its event."""


def in_the_clear(state: Mapping[str, Any]) -> dict[str, Any]:
    """What an event says in the clear beyond its envelope, as stored; absent and null are the same."""
    return {name: value for name, value in state.items() if name not in ENVELOPE and value is not None}


class NotProvable(Refused):
    """There is no proof of this trail; the message says why, and the way out."""

    code = "not-provable"


class Reason(StrEnum):
    """Why a file proves nothing."""

    NOT_EVIDENCE = "not-evidence"  # no document of this kind
    UNKNOWN_VERSION = "unknown-version"  # of a newer Rapport
    WRONG_KEY = "wrong-key"  # signed by another key than the one trusted
    FORGED_CHECKPOINT = "forged-checkpoint"  # the key did not sign the checkpoint
    FORGED_STATEMENT = "forged-statement"  # the key did not sign the statement
    ALTERED = "altered"  # the file does not say what its statement says
    REORDERED = "reordered"  # events are not in the log's order, or twice
    CHANGED_EVENT = "changed-event"  # other bytes than those that were stored
    NOT_IN_LOG = "not-in-log"  # the proof of an event does not lead to the checkpoint
    REMOVED_EVENT = "removed-event"  # an event of a record is left out
    FOREIGN_EVENT = "foreign-event"  # an event of a record that the statement does not name
    WITHHELD = "withheld"  # bytes are left out that no erasure names
    CONTRADICTION = "contradiction"  # the readable trail says other things than the stored events


class EvidenceRefused(Exception):
    """The file proves nothing: `reason`, and a sentence about the place."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _a_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Time = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)$"), AfterValidator(_a_time)
]
"""RFC 3339, in UTC."""
Count = Annotated[int, Field(ge=0, lt=2**63)]


class ProvedEvent(_Part):
    """A stored event: its bytes in base64 (None once they were purged), their SHA-256, its place and its proof."""

    seq: Count
    leaf: Count
    record: HexId
    version: Count
    recorded_at: Time
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    stored: str | None
    path: Annotated[list[str], Field(max_length=64)]


class Held(_Part):
    """A record of the person, and how many events it has."""

    record: HexId
    events: Count


class Step(BaseModel):
    """An event of the readable trail, as far as stored bytes speak of it."""

    model_config = ConfigDict(strict=True, extra="ignore")

    seq: int
    record: str
    version: int
    type: str
    occurred_at: str
    recorded_at: str
    actor: str
    source: str | None
    channel: str | None
    data: dict[str, Any]


class Conclusion(BaseModel):
    """What the controller concludes for one channel and purpose, and the event it rests on."""

    model_config = ConfigDict(strict=True, extra="ignore")

    channel: str
    purpose: str
    contactable: bool
    status: str
    because_seq: int | None


class Readable(BaseModel):
    """The readable trail, of the form in which `GET …/trail` gives it."""

    model_config = ConfigDict(strict=True, extra="ignore")

    candidate: str
    records: list[str]
    as_of: str
    known_at: str | None
    events: list[Step]
    standing: list[Conclusion]


class Evidence(_Part):
    """The document. `until_seq`: how far the ledger went when it was asked; of that, what it held at `known_at`, or
    all if that is None. `trail` None: the key to what is personal was destroyed.
    """

    format: Literal["rapport-evidence"] = "rapport-evidence"
    version: Literal[1] = 1
    candidate: HexId
    as_of: Time
    known_at: Time | None
    until_seq: Count
    made_at: Time
    records: list[Held]
    events: Annotated[list[ProvedEvent], Field(min_length=1)]
    trail: dict[str, Any] | None
    checkpoint: str
    statement: str
    key: str
    key_id: str


def statement_text(evidence: Evidence, checkpoint: Checkpoint) -> str:
    """What is signed beside the checkpoint: all that the file says, but for the statement itself, by its digest.

    The digest is SHA-256 of the document as JSON with names sorted, no spaces and nothing but ASCII. The first line is
    no origin of a log, so that no statement passes for a checkpoint.
    """
    document = evidence.model_dump(exclude={"statement"})
    written = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return (
        f"{checkpoint.origin}/evidence\nversion {VERSION}\n"
        f"log {checkpoint.size} {b64encode(checkpoint.root).decode()}\n"
        f"document sha256:{sha256(written).hexdigest()}\n"
    )


def parse(content: bytes) -> Evidence:
    """The document, unverified. Raises EvidenceRefused."""
    if len(content) > MOST_BYTES:
        raise _not_evidence("it is larger than any evidence file")
    document = _json(content)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _not_evidence("it is JSON of something else")
    if document.get("version") != VERSION:
        sentence = f"it is written in version {str(document.get('version'))[:20]!r} of the format, known is {VERSION}"
        raise EvidenceRefused(Reason.UNKNOWN_VERSION, sentence)
    try:
        return Evidence.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part)[:40] for part in first["loc"])
        raise _not_evidence(f"{place}: {first['msg'][:100]}") from None


def _json(content: bytes) -> Any:
    if not content.strip():
        raise _not_evidence("it is empty")
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=once, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise _not_evidence("it is not UTF-8 text") from None
    except RecursionError:
        raise _not_evidence("it is nested deeper than any evidence file") from None
    except _TwiceError as error:
        raise _not_evidence(f"it says {str(error)[:40]!r} twice in one object") from None
    except ValueError:
        raise _not_evidence("it is not JSON, or cut off") from None


class _TwiceError(ValueError):
    """A key that an object has twice: which of them counts is up to the reader."""


def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no key stands twice. Raises ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _not_evidence(why: str) -> EvidenceRefused:
    return EvidenceRefused(Reason.NOT_EVIDENCE, f"this is not an evidence file of Rapport: {why}")


_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
"""What must not reach a terminal: a file may come from anybody."""


def shown(text: object) -> str:
    """`text` without what would steer a terminal or hide what it says."""
    return _HIDDEN.sub("�", str(text))
