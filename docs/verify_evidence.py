"""Verifies an evidence file of Rapport, without Rapport: `python verify_evidence.py FILE [VKEY]`.

Needs Python 3.11 and `cryptography`. VKEY: the log's key as published; else the file's own is believed. See proof.md.
"""

import json
import re
import sys
from base64 import b64decode
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

STATEMENTS = {"opted_out", "complained", "consent_withdrawn", "restricted", "restriction_lifted", "opted_in"}
STATEMENTS |= {"consent_given", "basis_recorded"}  # these hold at the latest from when they were recorded
RELEVANT = STATEMENTS | {"sourced", "notice_given", "consent_requested", "consent_refused", "emailed", "messaged"}
RELEVANT |= {"merged", "unmerged", "request_received", "request_extended", "request_closed", "recipient_notified"}
ENVELOPE = {"v", "occurred_at", "actor_kind", "source", "channel", "correlation", "sealed"}
SEALED, EQUAL = {"evidence", "message"}, ("record", "version", "recorded_at", "type", "channel", "source")
time = datetime.fromisoformat
base64 = partial(b64decode, validate=True)


def require(holds: object, reason: str, sentence: str) -> None:
    if not holds:
        sys.exit(f"refused ({reason}): {sentence}")


def once(pairs: list) -> dict:
    require(len(dict(pairs)) == len(pairs), "not-evidence", "a name stands twice in one object")
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
    found = map(base64, re.findall(rf"^— {re.escape(name)} (\S+)$", block, re.MULTILINE))
    ours = [signature[4:] for signature in found if signature[:4] == key_id]
    require(ours, reason, f"it is not signed by {name}")
    try:
        for signature in ours:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, f"{text}\n".encode())
    except InvalidSignature:
        require(False, reason, f"the signature of {name} does not fit")
    return text.split("\n")


def leads_to(root: bytes, leaf: bytes, index: int, size: int, path: map) -> bool:
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
    named = stored is None or (body["id"], body["version"]) == (f"candidate-{event['record']}", event["version"])
    require(named, "altered", f"event {seq} is another than it says")
    return body


def require_told(e: dict, bodies: dict) -> None:
    """The readable trail says what the bytes say in the clear, and passes over nothing that bears on consent."""
    events, trail, began = {x["seq"]: x for x in e["events"]}, e["trail"], {}
    of = [trail["records"] == [held["record"] for held in e["records"]], all(bodies.values())]
    of += [trail[name] == e[name] for name in ("candidate", "as_of", "known_at")]
    require(all(of), "contradiction", "the readable trail is of other records or times, or of bytes that are not there")
    for seq, body in bodies.items():
        held = [events[seq]["recorded_at"]] if body["type"] in STATEMENTS else []
        began[seq] = min(map(time, [body["state"]["occurred_at"], *held]))
    due = [seq for seq in bodies if bodies[seq]["type"] in RELEVANT and began[seq] <= time(e["as_of"])]
    whole = [step["seq"] for step in trail["events"]] == sorted(due, key=lambda seq: (began[seq], seq))
    require(whole, "contradiction", "the readable trail passes over an event, tells one too many, or is out of order")
    for step, event in ((step, events[step["seq"]]) for step in trail["events"]):
        body, state = bodies[event["seq"]], bodies[event["seq"]]["state"]
        said = {name: value for name, value in step["data"].items() if name not in SEALED}
        same = said == {name: v for name, v in state.items() if name not in ENVELOPE and v is not None}
        real = {"channel": None, "source": None, **state, **event, "type": body["type"]}
        same &= all(step[x] == real[x] for x in EQUAL) and time(step["occurred_at"]) == time(real["occurred_at"])
        same &= (step["actor"].split(":")[0] == "candidate") == (state["actor_kind"] == "candidate")
        require(same, "contradiction", f"the readable trail contradicts event {event['seq']}")


def verify(content: bytes, trusted: str | None) -> str:
    e = json.loads(content.decode("utf-8"), object_pairs_hook=once)
    require(e["format"] == "rapport-evidence", "not-evidence", "it is JSON of something else")
    require(e["version"] == 1, "unknown-version", "it is of another version than 1")
    key = key_of(e["key"])
    require(key[1].hex() == e["key_id"] and trusted in (None, e["key"]), "wrong-key", f"it is signed with {e['key']}")
    origin, size, root = opened(e["checkpoint"], key, "forged-checkpoint")[:3]
    require(origin == key[0], "forged-checkpoint", "it is one of another log")
    signed = opened(e["statement"], key, "forged-statement")
    rising = all((c := [x[name] for x in e["events"]]) == sorted(set(c)) for name in ("seq", "leaf"))
    require(rising and e["events"], "reordered", "the events are not in the order of the log")
    in_time = all(time(x["recorded_at"]) <= time(e["known_at"] or x["recorded_at"]) for x in e["events"])
    require(in_time and e["events"][-1]["seq"] <= e["until_seq"], "altered", "an event is later than the file")
    bodies = {x["seq"]: proved(x, int(size), base64(root)) for x in e["events"]}
    for record, count in ((held["record"], held["events"]) for held in e["records"]):
        versions = sorted(x["version"] for x in e["events"] if x["record"] == record)
        whole = versions == [*range(1, len(versions) + 1)] and len(versions) >= count
        require(whole, "removed-event", f"one of the {count} events of record {record} is left out")
        require(len(versions) == count, "foreign-event", f"record {record} has more events than were signed")
    require(len(e["events"]) == sum(r["events"] for r in e["records"]), "foreign-event", "an event is of nobody named")
    document = json.dumps({k: e[k] for k in e.keys() - {"statement"}}, sort_keys=True, separators=(",", ":")).encode()
    said = [f"{origin}/evidence", "version 1", f"log {size} {root}", f"document sha256:{sha256(document).hexdigest()}"]
    require(signed == said, "altered", "the file does not say what was signed")
    ends = [(x, b["state"]) for x in e["events"] if (b := bodies[x["seq"]]) and b["type"] == "erased"]
    named = {(x["record"], *place): x["seq"] for x, state in ends for place in state.get("bodies") or ()}
    gone = [(x["record"], x["seq"], f"sha256:{x['hash']}") for x in e["events"] if x["stored"] is None]
    require(all(named.get(x, 0) > x[1] for x in gone), "withheld", "bytes are left out that no erasure there names")
    if e["trail"] is not None:
        require_told(e, bodies)
    return f"{len(bodies)} events of {e['candidate']} proved in {origin} at {size} events, signed with {e['key']}"


if __name__ == "__main__":
    try:
        print(verify(Path(sys.argv[1]).read_bytes(), sys.argv[2] if len(sys.argv) > 2 else None))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OSError) as error:
        sys.exit(f"refused (not-evidence): this is not an evidence file that can be read ({type(error).__name__})")
