"""An evidence file and a checkpoint of a small log, under a key that everybody knows: the stored forms of version 1.

    python -m tests.golden.proofs

writes them where they are not there yet; it touches no file that is. What a verifier of an older version was given must
verify for good.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from api.http import rendering
from domain import candidate as c
from domain.candidate import CandidateEvent
from domain.checkpoint import Checkpoint
from domain.event import Recorded
from domain.evidence import Evidence, Held, ProvedEvent, statement_text
from domain.merkle import Tree, inclusion_proof, leaf_hash, perfect_root
from domain.policy import Basis, Channel, OptOutMethod
from domain.trail import trail
from infra.codec import aggregate_id, encode
from infra.crypto.signing import SigningKey
from infra.jetstream.message import encode as encode_message

FOLDER = Path(__file__).parent / "proof"
ORIGIN = "rapport/golden"
KEY = SigningKey(bytes(range(32)))
SEALING_KEY = bytes(range(32, 64))
EPOCH = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ADA, ADA_AGAIN, BOB = "a0" * 16, "a1" * 16, "b0" * 16


class Entry(NamedTuple):
    """An event in the log, as an object and as stored."""

    recorded: Recorded[CandidateEvent]
    stored: bytes


def _at(minutes: int) -> dict[str, object]:
    return {"occurred_at": EPOCH + timedelta(minutes=minutes), "actor": "user:recruiter-7"}


EVENTS: list[tuple[str, CandidateEvent]] = [
    (ADA, c.Sourced(**_at(0), source="linkedin", first_name="Ada", identifiers=("email:ada@example.com",))),
    (ADA, c.BasisRecorded(**_at(1), basis=Basis.LEGITIMATE_INTEREST, lia="LIA-2025-03", purpose="recruiting")),
    (BOB, c.Sourced(**_at(1), source="linkedin", first_name="Bob")),
    (ADA, c.Tagged(**_at(2), tag="analyst")),
    (ADA_AGAIN, c.Sourced(**_at(3), source="ats", first_name="Ada")),
    (ADA_AGAIN, c.Merged(**_at(4), into=ADA)),
    (ADA_AGAIN, c.OptedOut(**_at(5), channel=Channel.EMAIL, purpose="recruiting", method=OptOutMethod.REPLY)),
    (BOB, c.Tagged(**_at(6), tag="chemist")),
    (ADA, c.ConsentGiven(**_at(7), purpose="recruiting", notice_version="2026-01", method="form")),
]


def log(events: Sequence[tuple[str, CandidateEvent]] = EVENTS) -> list[Entry]:
    """The events as a ledger would hold them; it has passed over seq 5."""
    versions: dict[str, int] = {}
    entries = []
    for n, (id_, event) in enumerate(events, start=1):
        versions[id_] = versions.get(id_, 0) + 1
        nonce = sha256(str(n).encode()).digest()[:12]
        stored = encode_message(encode(aggregate_id(c.KIND, id_), versions[id_], event, SEALING_KEY, nonce))
        seq = n if n < 5 else n + 1
        recorded = Recorded(id_, versions[id_], seq, event.occurred_at + timedelta(seconds=seq), event)
        entries.append(Entry(recorded, stored))
    return entries


def perfect(entries: Sequence[Entry], height: int, number: int) -> bytes:
    """The perfect subtrees over these entries."""
    part = entries[number << height : (number + 1) << height]
    return perfect_root([leaf_hash(sha256(entry.stored).digest()) for entry in part])


def checkpoint(entries: Sequence[Entry]) -> Checkpoint:
    """What the log has come to."""
    tree = Tree()
    for entry in entries:
        for _ in tree.append(leaf_hash(sha256(entry.stored).digest())):
            pass
    return Checkpoint(ORIGIN, tree.size, tree.root())


def evidence(entries: Sequence[Entry], records: Sequence[str] = (ADA, ADA_AGAIN)) -> Evidence:
    """The file about the person of these records, of which the first stands for all."""
    asked, head = EPOCH + timedelta(hours=1), checkpoint(entries)
    held = [(leaf, entry) for leaf, entry in enumerate(entries) if entry.recorded.id in records]
    histories = [[entry.recorded for _, entry in held if entry.recorded.id == id_] for id_ in records]
    unsigned = Evidence(
        candidate=records[0],
        as_of=asked.isoformat(),
        known_at=None,
        until_seq=entries[-1].recorded.seq,
        made_at=asked.isoformat(),
        records=[Held(record=id_, events=len(h)) for id_, h in zip(records, histories, strict=True)],
        events=[
            ProvedEvent(
                seq=entry.recorded.seq,
                leaf=leaf,
                record=entry.recorded.id,
                version=entry.recorded.version,
                recorded_at=entry.recorded.recorded_at.isoformat(),
                hash=sha256(entry.stored).hexdigest(),
                stored=b64encode(entry.stored).decode(),
                path=[
                    b64encode(step).decode()
                    for step in inclusion_proof(leaf, head.size, lambda h, n: perfect(entries, h, n))
                ],
            )
            for leaf, entry in held
        ],
        trail=rendering.trail(trail(records[0], histories, asked)),
        checkpoint=KEY.note(head.text, ORIGIN),
        statement="",
        key=KEY.named(ORIGIN).vkey,
        key_id=KEY.named(ORIGIN).id.hex(),
    )
    return signed(unsigned, head)


def signed(document: Evidence, head: Checkpoint, key: SigningKey = KEY) -> Evidence:
    """The document with a statement over it, true or not."""
    unsigned = document.model_copy(update={"statement": ""})
    return document.model_copy(update={"statement": key.note(statement_text(unsigned, head), head.origin)})


def written(document: Evidence) -> bytes:
    """The file."""
    return (json.dumps(document.model_dump(), indent=2) + "\n").encode()


def golden() -> dict[str, bytes]:
    """The files by name."""
    entries = log()
    return {
        "evidence.v1.json": written(evidence(entries)),
        "checkpoint.v1.txt": KEY.note(checkpoint(entries).text, ORIGIN).encode(),
    }


def main(folder: Path = FOLDER) -> None:
    """Writes what is missing."""
    folder.mkdir(exist_ok=True)
    for name, content in golden().items():
        if not (folder / name).exists():
            (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
