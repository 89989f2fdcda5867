"""Evidence files on the command line: writing one, and saying what one proves."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from api.cli import output
from api.cli.client import Client
from api.cli.exporting import writing
from api.failures import FileRefused
from domain.checkpoint import NoteMalformed, VerifyingKey
from domain.errors import InvalidInteraction
from domain.evidence import MOST_BYTES, EvidenceRefused, shown
from domain.trail import RELEVANT_TYPES
from domain.verifying import Verified, verify
from infra.crypto.signing import check

ENVELOPE = {"v", "occurred_at", "channel", "correlation", "sealed"}
"""Members of a stored state that have a column of their own, or none."""


def require_free(target: Path) -> None:
    """Raises FileRefused when there is something: evidence is not written over evidence."""
    if target.exists():
        raise FileRefused(f"{target} is there already; name another file")


def write(
    client: Client, ref: str, target: Path, as_of: datetime | None, known_at: datetime | None, *, json: bool
) -> None:
    """The evidence file about `ref`, for its owner only. Raises RequestRefused or FileRefused."""
    path = f"/v1/compliance/candidates/{quote(ref, safe='')}/evidence"
    with client.stream("GET", path, as_of=as_of, known_at=known_at) as answer:
        content = answer.read()
    with writing(target) as beside:
        beside.touch(0o600)
        beside.write_bytes(content)
    found = verify(content, check)
    if json:
        output.as_json({"file": str(target), **document(found)})
        return
    show(found)
    output.say(f"Written to {target}. Whoever has it can check it with: rapport consent verify-proof {target.name}")


def verify_file(path: Path, vkey: str | None, *, json: bool) -> bool:
    """Says whether the file proves what it says. Raises FileRefused, or InvalidInteraction for a key that is none."""
    try:
        trusted = None if vkey is None else VerifyingKey.of(vkey)
    except NoteMalformed as error:
        raise InvalidInteraction(f"--key: {error}") from None
    try:
        found = verify(_content(path), check, trusted)
    except EvidenceRefused as error:
        if json:
            output.as_json({"verified": False, "reason": error.reason.value, "detail": str(error)})
        else:
            sentence = f"rapport: {path.name} proves nothing ({error.reason.value}): {shown(error)}"
            output.err.print(sentence, style="red", markup=False, soft_wrap=True)
        return False
    if json:
        output.as_json(document(found) | {"key_given": trusted is not None})
        return True
    show(found)
    output.say("The file proves what it says: nothing is changed, left out or rearranged.")
    if trusted is None:
        output.say(
            "The key is the one that the file itself names. That it is the controller's, only the controller can say: "
            "compare it with the one they have published, or give that one with --key."
        )
    return True


def show(found: Verified) -> None:
    """What is proved, as a person reads it: the stored events of the trail, what was concluded, who signed."""
    evidence, readable = found.evidence, found.readable
    known = f", as known at {output.moment(evidence.known_at)}" if evidence.known_at else ""
    title = f"Proved of data subject {evidence.candidate}, as of {output.moment(evidence.as_of)}{known} (UTC)"
    rows = list(_rows(found))
    whole = ["seq", "happened", "recorded"]
    output.table(title, [*whole, "event", "in the stored bytes"], rows, whole=whole)
    if readable is None:
        output.say("What is personal in them cannot be opened any more: the key of this person was destroyed.")
    else:
        output.table(
            "Standing, as the controller concludes it from these events",
            ["channel", "purpose", "contactable", "because", "event"],
            (
                [shown(s.channel), shown(s.purpose), s.contactable, shown(s.status), str(s.because_seq or "")]
                for s in readable.standing
            ),
        )
    complete = "; ".join(f"{held.events} of record {held.record}" for held in evidence.records)
    output.say(f"Stored events: {complete}; shown are the {len(rows)} that make up the trail.")
    if purged := len(evidence.events) - len(found.stored):
        output.say(f"Of {purged} events only the hash is left: their bytes were purged.")
    output.say(f"Log {found.checkpoint.origin} at {found.checkpoint.size} events, signed with key {found.key.vkey}")


def _rows(found: Verified) -> Iterable[list[str]]:
    told = None if found.readable is None else {step.seq for step in found.readable.events}
    for event in found.evidence.events:
        body = found.stored.get(event.seq)
        if body is None or body["type"] not in RELEVANT_TYPES or (told is not None and event.seq not in told):
            continue
        state = body["state"]
        channel = f" ({state['channel']})" if "channel" in state else ""
        happened = str(state.get("occurred_at", ""))[:16].replace("T", " ")
        cells = (happened, output.moment(event.recorded_at), f"{body['type']}{channel}")
        said = "\n".join(shown(f"{name} {value}") for name, value in state.items() if name not in ENVELOPE)
        yield [str(event.seq), *map(shown, cells), said]


def document(found: Verified) -> dict[str, Any]:
    """The same for programs."""
    evidence = found.evidence
    return {
        "verified": True,
        "candidate": evidence.candidate,
        "as_of": evidence.as_of,
        "known_at": evidence.known_at,
        "made_at": evidence.made_at,
        "records": [held.model_dump() for held in evidence.records],
        "events": len(evidence.events),
        "log": {"origin": found.checkpoint.origin, "size": found.checkpoint.size, "root": found.checkpoint.root.hex()},
        "key": found.key.vkey,
    }


def _content(path: Path) -> bytes:
    """The file, as far as an evidence file can be long. Raises FileRefused."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise FileRefused(f"{path} cannot be read: {error.strerror}") from None
