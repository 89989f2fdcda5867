"""Verifies an evidence file of Rapport, without Rapport: `python verify_evidence.py FILE [VKEY]`.

Needs Python 3.11 and the package `cryptography`. VKEY is the log's key as its controller has published it; without it
the file's own is taken at its word. Exits with 0 and what is proved, or with 1 and why nothing is. See proof.md.
"""

import json
import re
import sys
from base64 import b64decode
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

AGAINST_CONTACT = {"opted_out", "complained", "consent_withdrawn", "restricted"}  # holds as soon as it is recorded
BEARS_ON_CONSENT = AGAINST_CONTACT | {"opted_in", "consent_given", "consent_requested", "consent_refused"}
BEARS_ON_CONSENT |= {"basis_recorded", "restriction_lifted", "sourced", "notice_given", "emailed", "messaged", "merged"}
BEARS_ON_CONSENT |= {"unmerged", "request_received", "request_extended", "request_closed", "recipient_notified"}
base64 = partial(b64decode, validate=True)


def require(holds: object, reason: str, sentence: str) -> None:
    if not holds:
        sys.exit(f"refused ({reason}): {sentence}")


def once(pairs: list) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return dict(pairs)


def key_of(vkey: str) -> tuple[str, bytes, bytes]:
    """Name, id and public key in a vkey (c2sp.org/signed-note)."""
    name, hex_id, encoded = vkey.split("+", 2)
    typed = base64(encoded)
    key_id = sha256(f"{name}\n".encode() + typed).digest()[:4]
    require(typed[:1] == b"\x01" and len(typed) == 33 and key_id.hex() == hex_id, "wrong-key", "the key cannot be one")
    return name, key_id, typed[1:]


def opened(note: str, key: tuple[str, bytes, bytes], reason: str) -> list[str]:
    """The lines that the key signed in a note (c2sp.org/signed-note)."""
    name, key_id, public = key
    text, _, block = note.rpartition("\n\n")
    found = [base64(s) for n, s in re.findall(r"^— (\S+) (\S+)$", block, re.MULTILINE) if n == name]
    ours = [signature[4:] for signature in found if signature[:4] == key_id]
    require(ours, reason, f"it is not signed by {name}")
    try:
        for signature in ours:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, f"{text}\n".encode())
    except InvalidSignature:
        require(False, reason, f"the signature of {name} does not fit")
    return text.split("\n")


def leads_to(root: bytes, leaf: bytes, index: int, size: int, path: Iterable[bytes]) -> bool:
    """RFC 9162 §2.1.3.2."""
    fn, sn, found = index, size - 1, leaf
    for step in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            found = sha256(b"\x01" + step + found).digest()
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = sha256(b"\x01" + found + step).digest()
        fn, sn = fn >> 1, sn >> 1
    return 0 <= index < size and sn == 0 and found == root


def proved(event: dict, size: int, root: bytes) -> dict | None:
    """The stored event, when its bytes are in the log; None of one that was purged."""
    seq, entry = event["seq"], bytes.fromhex(event["hash"])
    stored = None if event["stored"] is None else base64(event["stored"])
    require(stored is None or sha256(stored).digest() == entry, "changed-event", f"event {seq} has other bytes")
    inside = leads_to(root, sha256(b"\x00" + entry).digest(), event["leaf"], size, map(base64, event["path"]))
    require(inside, "not-in-log", f"event {seq} is not in the log of the checkpoint")
    body = None if stored is None else json.loads(stored, object_pairs_hook=once)
    named = body is None or (body["id"], body["version"]) == (f"candidate-{event['record']}", event["version"])
    require(named, "altered", f"event {seq} is another than it says")
    return body


def tells(step: dict, event: dict, state: dict) -> bool:
    """Whether a readable step says what stands in the bytes in the clear."""
    said = [step[name] == event[name] for name in ("record", "version", "recorded_at")]
    said += [state[name] == value for name, value in step["data"].items() if name in state]
    said += [datetime.fromisoformat(step["occurred_at"]) == datetime.fromisoformat(state["occurred_at"])]
    return all(said) and step["channel"] == state.get("channel")


def require_told(e: dict, bodies: dict) -> None:
    """The readable trail says what the bytes say, and passes over nothing that bears on consent."""
    events, trail, time = {x["seq"]: x for x in e["events"]}, e["trail"], datetime.fromisoformat
    same = [trail["candidate"], *trail["records"]] == [e["candidate"], *(r["record"] for r in e["records"])]
    require(same, "contradiction", "the readable trail is of other records")
    for step in trail["events"]:
        seq, body = step["seq"], bodies.get(step["seq"])
        fits = body is None or (step["type"] == body["type"] and tells(step, events[seq], body["state"]))
        require(seq in events and fits, "contradiction", f"the readable trail contradicts event {seq}")
    for seq in {seq for seq, body in bodies.items() if body} - {step["seq"] for step in trail["events"]}:
        type_, began = bodies[seq]["type"], time(bodies[seq]["state"]["occurred_at"])
        began = min(began, time(events[seq]["recorded_at"])) if type_ in AGAINST_CONTACT else began
        late = type_ not in BEARS_ON_CONSENT or began > time(e["as_of"])
        require(late, "contradiction", f"the readable trail passes over event {seq} ({type_})")


def verify(content: bytes, trusted: str | None) -> str:
    e = json.loads(content.decode("utf-8"), object_pairs_hook=once)
    require(e["format"] == "rapport-evidence", "not-evidence", "it is JSON of something else")
    require(e["version"] == 1, "unknown-version", "it is of another version than 1")
    key = key_of(e["key"])
    require(key[1].hex() == e["key_id"] and trusted in (None, e["key"]), "wrong-key", f"it is signed with {e['key']}")
    origin, size, root = opened(e["checkpoint"], key, "forged-checkpoint")[:3]
    require(origin == key[0], "forged-checkpoint", "it is one of another log")
    signed = opened(e["statement"], key, "forged-statement")
    rising = all(a["seq"] < b["seq"] and a["leaf"] < b["leaf"] for a, b in pairwise(e["events"]))
    require(rising and e["events"], "reordered", "the events are not in the order of the log")
    bodies = {x["seq"]: proved(x, int(size), base64(root)) for x in e["events"]}
    counts = {held["record"]: held["events"] for held in e["records"]}
    require({x["record"] for x in e["events"]} <= counts.keys(), "foreign-event", "an event is of a record not named")
    for record, count in counts.items():
        versions = [x["version"] for x in e["events"] if x["record"] == record]
        there = set(versions)
        missing = next(n for n in range(1, len(there) + 2) if n not in there)
        require(missing > count, "removed-event", f"event {missing} of the {count} of record {record} is left out")
        require(len(versions) == count, "foreign-event", f"record {record} has more events than were signed")
    document = json.dumps({k: e[k] for k in e.keys() - {"statement"}}, sort_keys=True, separators=(",", ":"))
    written = sha256(document.encode()).hexdigest()
    said = [f"{origin}/evidence", "version 1", f"log {size} {root}", f"document sha256:{written}"]
    require(signed == said, "altered", "the file does not say what was signed")
    if e["trail"] is not None:
        require_told(e, bodies)
    return f"{len(bodies)} events of {e['candidate']} proved in {origin} at {size} events, signed with {e['key']}"


if __name__ == "__main__":
    try:
        print(verify(Path(sys.argv[1]).read_bytes(), sys.argv[2] if len(sys.argv) > 2 else None))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OSError) as error:
        sys.exit(f"refused (not-evidence): this is not an evidence file that can be read ({type(error).__name__})")
