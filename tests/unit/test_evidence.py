"""An evidence file proves what it says, and nothing that was done to it passes: by our code and by the script alone."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.candidate import Erased
from domain.checkpoint import Checkpoint, VerifyingKey, opened
from domain.consent import STATEMENT_TYPES
from domain.evidence import ENVELOPE, MOST_BYTES, SEALED_BUT_TOLD, Evidence, EvidenceRefused, Reason, parse, shown
from domain.policy import ErasureGround
from domain.trail import RELEVANT_TYPES
from domain.verifying import verify
from infra.crypto.signing import SigningKey, check
from tests.golden import proofs
from tests.golden.proofs import ADA, ADA_AGAIN, BOB, KEY, ORIGIN

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_evidence.py"
OURS = KEY.named(ORIGIN)
THIEF = SigningKey(b"\x66" * 32)
ENTRIES = proofs.log()
HEAD = proofs.checkpoint(ENTRIES)
SOUND = proofs.evidence(ENTRIES)

Document = dict[str, Any]


def by_script(content: bytes, folder: Path, *key: str) -> tuple[int, str]:
    """Exit code and words of the stand-alone script, run where none of our packages can be imported."""
    path = folder / "evidence.json"
    path.write_bytes(content)
    blocked = f"import sys; sys.modules |= dict.fromkeys(('domain', 'infra', 'api', 'projections', 'consumers')); \
sys.argv = {[str(SCRIPT), str(path), *key]!r}; import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-I", "-c", blocked], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def document() -> Document:
    found: Document = json.loads(proofs.written(SOUND))
    return found


def content_of(changed: Document) -> bytes:
    return json.dumps(changed).encode()


def reason(content: bytes, trusted: VerifyingKey | None = None) -> Reason:
    with pytest.raises(EvidenceRefused) as refusal:
        verify(content, check, trusted)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400
    return refusal.value.reason


def test_a_sound_file_verifies_and_says_what_it_proves(tmp_path: Path) -> None:
    found = verify(proofs.written(SOUND), check, OURS)
    assert found.checkpoint == HEAD
    assert [body["type"] for body in found.stored.values()] == [
        *("sourced", "basis_recorded", "tagged", "sourced", "merged", "opted_out", "consent_given")
    ]
    assert found.readable is not None
    assert {(s.channel, s.contactable, s.status) for s in found.readable.standing} == {
        ("email", False, "opted_out"),
        ("*", True, "consent"),
    }
    assert by_script(proofs.written(SOUND), tmp_path, OURS.vkey)[0] == 0


def test_the_script_stands_alone() -> None:
    lines = SCRIPT.read_text("utf-8").splitlines()
    assert len(lines) < 150
    imported = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= {*sys.stdlib_module_names, "cryptography"}


def test_the_script_knows_the_types_that_a_trail_is_made_of() -> None:
    """Stated a second time there; here they are held together."""
    found = runpy.run_path(str(SCRIPT))
    assert found["RELEVANT"] == RELEVANT_TYPES
    assert found["STATEMENTS"] == STATEMENT_TYPES
    assert found["ENVELOPE"] == ENVELOPE
    assert found["SEALED"] == SEALED_BUT_TOLD


GOLDEN = {
    "evidence.v1.json": "14f92ec3111ff107db34c4f6debc23ff388074480c721b8ae99865c1ac97c5ca",
    "checkpoint.v1.txt": "4e8613d15b7320e74b5d7b3b17664bda0ee4131b3a268497abd533a9ead344c1",
}
"""SHA-256 of what was once written. Final: another form is another version, in files of its own."""


@pytest.mark.parametrize("name", GOLDEN)
def test_the_stored_forms_of_version_1_are_what_they_were(name: str) -> None:
    assert sha256((proofs.FOLDER / name).read_bytes()).hexdigest() == GOLDEN[name]


def test_version_1_is_still_written_as_it_was() -> None:
    """Byte for byte, signatures included: Ed25519 leaves nothing to chance."""
    note = (proofs.FOLDER / "checkpoint.v1.txt").read_text("utf-8")
    head = Checkpoint.of(opened(note, OURS, check))
    assert KEY.note(head.text, ORIGIN) == note
    content = (proofs.FOLDER / "evidence.v1.json").read_bytes()
    assert proofs.written(proofs.signed(parse(content), head)) == content


def test_what_was_written_in_version_1_verifies(tmp_path: Path) -> None:
    content = (proofs.FOLDER / "evidence.v1.json").read_bytes()
    assert verify(content, check, OURS).evidence.candidate == ADA
    assert by_script(content, tmp_path, OURS.vkey)[0] == 0


# ── what is done to a file by somebody without the key ─────────────────────────────────────────────


def change_a_byte(e: Document) -> None:
    stored = bytearray(b64decode(e["events"][5]["stored"]))
    stored[stored.index(b"opted_out") + 6] ^= 1
    e["events"][5]["stored"] = b64encode(stored).decode()


def change_a_byte_and_its_hash(e: Document) -> None:
    change_a_byte(e)
    e["events"][5]["hash"] = sha256(b64decode(e["events"][5]["stored"])).hexdigest()


def change_the_ciphertext(e: Document) -> None:
    stored = b64decode(e["events"][0]["stored"])
    at = stored.index(b'"sealed":"') + 20
    e["events"][0]["stored"] = b64encode(stored[:at] + (b"A" if stored[at] != 65 else b"B") + stored[at + 1 :]).decode()


def remove_in_the_middle(e: Document) -> None:
    del e["events"][2]


def remove_the_last(e: Document) -> None:
    """The opt-out of the duplicate."""
    del e["events"][5]


def remove_all_but_one(e: Document) -> None:
    del e["events"][1:]


def remove_a_record(e: Document) -> None:
    e["events"] = [event for event in e["events"] if event["record"] == ADA]
    e["records"] = [held for held in e["records"] if held["record"] == ADA]


def remove_and_say_so(e: Document) -> None:
    remove_the_last(e)
    e["records"][1]["events"] = 2


def reorder(e: Document) -> None:
    e["events"].reverse()


def swap_two(e: Document) -> None:
    e["events"][1], e["events"][2] = e["events"][2], e["events"][1]


def repeat(e: Document) -> None:
    e["events"].insert(3, e["events"][3])


def renumber(e: Document) -> None:
    e["events"][6]["seq"] += 1


def put_somebody_elses_in(e: Document) -> None:
    other = proofs.evidence(ENTRIES, (BOB,)).model_dump()["events"][0]
    e["events"].insert(2, other)


def call_somebody_elses_ours(e: Document) -> None:
    other = proofs.evidence(ENTRIES, (BOB,)).model_dump()["events"][0]
    e["events"][2] |= {name: other[name] for name in ("hash", "stored", "path")} | {"leaf": 2, "seq": 3}


def exchange_bytes(e: Document) -> None:
    """Bytes, hash, path and place of another event of the same person."""
    one, other = e["events"][1], e["events"][2]
    for name in ("record", "version"):
        one[name], other[name] = other[name], one[name]


def forge_the_checkpoint(e: Document) -> None:
    e["checkpoint"] = e["checkpoint"].replace("\n9\n", "\n10\n")


def sign_the_checkpoint_with_another_key(e: Document) -> None:
    e["checkpoint"] = THIEF.note(HEAD.text, ORIGIN)


def put_a_statement_for_the_checkpoint(e: Document) -> None:
    e["checkpoint"] = e["statement"]


def forge_the_statement(e: Document) -> None:
    digits = e["statement"].index("sha256:") + 7
    e["statement"] = e["statement"][:digits] + "0" * 64 + e["statement"][digits + 64 :]


def leave_the_statement_unsigned(e: Document) -> None:
    e["statement"] = e["statement"].partition("\n\n")[0] + "\n"


def put_the_checkpoint_for_the_statement(e: Document) -> None:
    e["statement"] = e["checkpoint"]


def take_the_checkpoint_of_another_day(e: Document) -> None:
    """Genuine, of the same log; the proofs are of another tree."""
    e["checkpoint"] = KEY.note(proofs.checkpoint(ENTRIES[:8]).text, ORIGIN)


def date_it_back(e: Document) -> None:
    e["as_of"] = "2026-03-01T09:33:00+00:00"


def date_the_recording_back(e: Document) -> None:
    e["events"][5]["recorded_at"] = "2026-03-01T09:00:00+00:00"


def put_another_name_on_it(e: Document) -> None:
    e["candidate"] = BOB


def tell_another_story(e: Document) -> None:
    e["trail"]["standing"][0]["contactable"] = True


def tell_nothing(e: Document) -> None:
    e["trail"] = None


def name_another_key(e: Document) -> None:
    e["key"], e["key_id"] = THIEF.named(ORIGIN).vkey, THIEF.named(ORIGIN).id.hex()


def miscall_the_key(e: Document) -> None:
    e["key_id"] = "00000000"


DONE: list[tuple[Callable[[Document], None], Reason]] = [
    (change_a_byte, Reason.CHANGED_EVENT),
    (change_a_byte_and_its_hash, Reason.NOT_IN_LOG),
    (change_the_ciphertext, Reason.CHANGED_EVENT),
    (remove_in_the_middle, Reason.REMOVED_EVENT),
    (remove_the_last, Reason.REMOVED_EVENT),
    (remove_all_but_one, Reason.REMOVED_EVENT),
    (remove_a_record, Reason.ALTERED),
    (remove_and_say_so, Reason.ALTERED),
    (reorder, Reason.REORDERED),
    (swap_two, Reason.REORDERED),
    (repeat, Reason.REORDERED),
    (renumber, Reason.ALTERED),
    (put_somebody_elses_in, Reason.FOREIGN_EVENT),
    (call_somebody_elses_ours, Reason.ALTERED),
    (exchange_bytes, Reason.ALTERED),
    (forge_the_checkpoint, Reason.FORGED_CHECKPOINT),
    (sign_the_checkpoint_with_another_key, Reason.FORGED_CHECKPOINT),
    (put_a_statement_for_the_checkpoint, Reason.FORGED_CHECKPOINT),
    (forge_the_statement, Reason.FORGED_STATEMENT),
    (leave_the_statement_unsigned, Reason.FORGED_STATEMENT),
    (put_the_checkpoint_for_the_statement, Reason.ALTERED),
    (take_the_checkpoint_of_another_day, Reason.NOT_IN_LOG),
    (date_it_back, Reason.ALTERED),
    (date_the_recording_back, Reason.ALTERED),
    (put_another_name_on_it, Reason.ALTERED),
    (tell_another_story, Reason.ALTERED),
    (tell_nothing, Reason.ALTERED),
    (name_another_key, Reason.FORGED_CHECKPOINT),
    (miscall_the_key, Reason.WRONG_KEY),
]


@pytest.mark.parametrize(("do", "expected"), DONE, ids=[do.__name__ for do, _ in DONE])
def test_what_is_done_to_a_file_fails_with_its_reason(
    do: Callable[[Document], None], expected: Reason, tmp_path: Path
) -> None:
    """The same one from our code and from the script."""
    changed = document()
    do(changed)
    assert reason(content_of(changed)) is expected
    code, said = by_script(content_of(changed), tmp_path)
    assert code == 1
    assert said.startswith(f"refused ({expected.value}): "), said


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every leaf of the document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [place for name, part in inside for place in places(part, (*at, name))]
    return found or [at]


@given(st.sampled_from(places(document())), st.data())
def test_no_value_of_a_file_can_be_another(place: tuple[Any, ...], data: st.DataObject) -> None:
    changed = document()
    holder = changed
    for name in place[:-1]:
        holder = holder[name]
    before = holder[place[-1]]
    others = st.one_of(st.none(), st.integers(), st.text(), st.just([]), st.booleans())
    if isinstance(before, str):
        at = data.draw(st.integers(0, max(0, len(before) - 1)))
        others |= st.sampled_from([before[:at] + "x" + before[at + 1 :], before[:at] + before[at + 1 :], before + " "])
    after = data.draw(others)
    holder[place[-1]] = after
    if json.dumps(changed) != json.dumps(document()):
        reason(content_of(changed))


# ── what somebody does who has another key, or the right one ───────────────────────────────────────


def stolen() -> bytes:
    """The whole file signed anew by somebody else, under the log's name."""
    key = THIEF.named(ORIGIN)
    forged = SOUND.model_copy(
        update={"checkpoint": THIEF.note(HEAD.text, ORIGIN), "key": key.vkey, "key_id": key.id.hex()}
    )
    return proofs.written(proofs.signed(forged, HEAD, THIEF))


def test_a_file_signed_with_another_key_fails_where_the_right_one_is_known(tmp_path: Path) -> None:
    """Without it nobody can tell: that is why the key is to be published."""
    assert verify(stolen(), check).key == THIEF.named(ORIGIN)
    assert reason(stolen(), OURS) is Reason.WRONG_KEY
    assert by_script(stolen(), tmp_path, OURS.vkey)[1].startswith("refused (wrong-key)")


def resigned(**changes: Any) -> bytes:
    """What the controller signs who would like the file to say something else."""
    return proofs.written(proofs.signed(Evidence.model_validate(SOUND.model_dump() | changes), HEAD))


def told(change: Callable[[Document], None]) -> bytes:
    changed = document()
    change(changed["trail"])
    return resigned(trail=changed["trail"])


def leave_out(trail: Document) -> None:
    trail["events"] = [step for step in trail["events"] if step["type"] != "opted_out"]


def say_another_type(trail: Document) -> None:
    next(s for s in trail["events"] if s["type"] == "opted_out")["type"] = "opted_in"


def say_another_channel(trail: Document) -> None:
    next(s for s in trail["events"] if s["type"] == "opted_out")["channel"] = "phone"


def say_another_purpose(trail: Document) -> None:
    next(s for s in trail["events"] if s["type"] == "opted_out")["data"]["purpose"] = "newsletter"


def say_another_time(trail: Document) -> None:
    trail["events"][0]["occurred_at"] = "2025-03-01T09:30:00+00:00"


def speak_of_what_is_not_there(trail: Document) -> None:
    trail["events"][0]["seq"] = 5


def speak_of_fewer_records(trail: Document) -> None:
    trail["records"] = [ADA]


def name_another_source(trail: Document) -> None:
    trail["events"][0]["source"] = "their own application form"


def say_that_they_did_it_themselves(trail: Document) -> None:
    trail["events"][-1]["actor"] = "candidate:ada"


def leave_out_the_purpose(trail: Document) -> None:
    """An opt-out for all would be told of one for recruiting."""
    del next(s for s in trail["events"] if s["type"] == "opted_out")["data"]["purpose"]


def make_up_an_expiry(trail: Document) -> None:
    next(s for s in trail["events"] if s["type"] == "consent_given")["data"]["expires_at"] = "2027-03-01T09:30:00Z"


def tell_one_twice(trail: Document) -> None:
    trail["events"].append(trail["events"][-1])


def tell_backwards(trail: Document) -> None:
    trail["events"].reverse()


def speak_of_another_day(trail: Document) -> None:
    trail["as_of"] = "2026-03-01T09:36:00+00:00"


def speak_of_what_was_known(trail: Document) -> None:
    trail["known_at"] = "2026-03-01T09:36:00+00:00"


@pytest.mark.parametrize(
    "change",
    [
        *(leave_out, say_another_type, say_another_channel, say_another_purpose, say_another_time),
        *(speak_of_what_is_not_there, speak_of_fewer_records, leave_out_the_purpose, make_up_an_expiry, tell_one_twice),
        *(tell_backwards, speak_of_another_day, speak_of_what_was_known, name_another_source),
        say_that_they_did_it_themselves,
    ],
)
def test_the_controller_cannot_sign_a_story_that_the_bytes_contradict(
    change: Callable[[Document], None], tmp_path: Path
) -> None:
    assert reason(told(change)) is Reason.CONTRADICTION
    assert by_script(told(change), tmp_path)[1].startswith("refused (contradiction)")


def test_the_controller_cannot_leave_out_an_event_before_the_last(tmp_path: Path) -> None:
    """Even with a statement that fits: the versions, which stand in the proved bytes, have a gap."""
    events = [e for e in SOUND.model_dump()["events"] if (e["record"], e["version"]) != (ADA_AGAIN, 2)]
    left = resigned(events=events)
    assert reason(left) is Reason.REMOVED_EVENT
    assert by_script(left, tmp_path)[1].startswith("refused (removed-event)")


def test_a_record_of_countless_events_takes_no_memory(tmp_path: Path) -> None:
    """Whoever made the file, and however many events it claims, what is checked is what is there."""
    changed = document()
    changed["records"][0]["events"] = 2**62
    assert reason(content_of(changed)) is Reason.REMOVED_EVENT
    assert by_script(content_of(changed), tmp_path)[1].startswith("refused (removed-event)")


@pytest.mark.parametrize("told_as", ["nothing", "opted_in"])
def test_the_controller_cannot_keep_back_the_bytes_of_an_event(told_as: str, tmp_path: Path) -> None:
    """Not of somebody of whom the file tells anything, and not without an erasure that names them."""
    changed = document()
    opted_out = next(s for s in changed["trail"]["events"] if s["type"] == "opted_out")
    next(e for e in changed["events"] if e["seq"] == opted_out["seq"])["stored"] = None
    if told_as == "nothing":
        changed["trail"]["events"].remove(opted_out)
    else:
        opted_out["type"] = told_as
    for trail in (changed["trail"], None):
        for at in (None, "2026-03-01T10:30:00+00:00", "9999-01-01T00:00:00+00:00"):
            content = resigned(events=changed["events"], trail=trail and trail | {"known_at": at}, known_at=at)
            assert reason(content) is Reason.WITHHELD
            assert by_script(content, tmp_path)[1].startswith("refused (withheld)")


def test_bytes_that_are_no_event_do_not_pass_for_purged_ones(tmp_path: Path) -> None:
    """A leaf whose bytes say `null` stands in the place of an opt-out."""
    at = next(n for n, entry in enumerate(ENTRIES) if entry.recorded.event.type == "opted_out")
    entries = [*ENTRIES[:at], ENTRIES[at]._replace(stored=b"null"), *ENTRIES[at + 1 :]]
    found = proofs.evidence(entries).model_copy(update={"trail": None})
    content = proofs.written(proofs.signed(found, proofs.checkpoint(entries)))
    assert reason(content) is Reason.CHANGED_EVENT
    assert by_script(content, tmp_path)[0] == 1


@pytest.mark.parametrize(
    "change", [{"until_seq": 0}, {"known_at": "2026-03-01T09:00:00+00:00", "trail": None}], ids=["seq", "known at"]
)
def test_no_event_is_later_than_what_the_file_is_made_of(change: Document, tmp_path: Path) -> None:
    assert reason(resigned(**change)) is Reason.ALTERED
    assert by_script(resigned(**change), tmp_path)[1].startswith("refused (altered)")


@pytest.mark.parametrize("more", [0, 1])
def test_no_record_is_named_twice(more: int, tmp_path: Path) -> None:
    records = SOUND.model_dump()["records"]
    content = resigned(records=[*records, records[1] | {"events": records[1]["events"] - more}], trail=None)
    assert reason(content) is Reason.FOREIGN_EVENT
    assert by_script(content, tmp_path)[1].startswith("refused (foreign-event)")


@pytest.mark.parametrize("ended", [ADA, ADA_AGAIN])
def test_of_a_purged_event_the_hash_is_proved(ended: str, tmp_path: Path) -> None:
    """As far as an erasure of its record names it; no other event's bytes can be kept back behind it."""
    purged = ENTRIES[2 + 1]
    assert purged.recorded.event.type == "tagged"
    named = (purged.recorded.seq, f"sha256:{sha256(purged.stored).hexdigest()}")
    envelope = (purged.recorded.version, "tagged", purged.recorded.recorded_at)
    at = {"occurred_at": proofs.EPOCH + timedelta(minutes=9), "actor": "user:officer"}
    erasure = Erased(**at, erasure=ADA, ground=ErasureGround.OBJECTION, bodies=(named,), envelopes=(envelope,))
    entries = proofs.log([*proofs.EVENTS, (ended, erasure)])
    head = proofs.checkpoint(entries)
    found = proofs.evidence(entries).model_dump() | {"trail": None}
    for seq, holds in ((purged.recorded.seq, ended == ADA), (purged.recorded.seq - 2, False)):
        events = [e | {"stored": None if e["seq"] == seq else e["stored"]} for e in found["events"]]
        content = proofs.written(proofs.signed(Evidence.model_validate(found | {"events": events}), head))
        if holds:
            assert len(verify(content, check).stored) == len(events) - 1
        else:
            assert reason(content) is Reason.WITHHELD
        assert by_script(content, tmp_path)[0] == (0 if holds else 1)


def test_of_an_erased_person_the_envelope_is_proved(tmp_path: Path) -> None:
    content = resigned(trail=None)
    assert verify(content, check).readable is None
    assert by_script(content, tmp_path)[0] == 0


def test_a_checkpoint_of_another_log_is_none_of_this_one() -> None:
    """Signed under this log's name, with another one's origin."""
    other = Checkpoint("rapport/another", HEAD.size, HEAD.root)
    assert reason(resigned(checkpoint=KEY.note(other.text, ORIGIN))) is Reason.FORGED_CHECKPOINT


# ── what is no evidence file ───────────────────────────────────────────────────────────────────────

SOUND_BYTES = proofs.written(SOUND)
NO_EVIDENCE = {
    "empty": b"",
    "blank": b" \n",
    "text": b"Dear Sir or Madam",
    "binary": bytes(range(256)),
    "UTF-16": SOUND_BYTES.decode().encode("utf-16"),
    "a BOM": b"\xef\xbb\xbf" + SOUND_BYTES,
    "cut off": SOUND_BYTES[:-20],
    "two documents": SOUND_BYTES * 2,
    "a list": b"[]",
    "a number": b"7",
    "other JSON": b'{"candidate": "x"}',
    "a key twice": SOUND_BYTES.replace(b'"candidate"', b'"as_of": "x", "candidate"', 1),
    "a key twice, deep": SOUND_BYTES.replace(b'"seq": 1,', b'"seq": 1, "seq": 1,', 1),
    "no number": SOUND_BYTES.replace(b'"until_seq": 10', b'"until_seq": NaN', 1),
    "deep": b'{"format":"rapport-evidence","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a huge number": SOUND_BYTES.replace(b'"until_seq": 10', b'"until_seq": 1' + b"0" * 5_000, 1),
    "a lone surrogate": SOUND_BYTES.replace(b'"candidate": "a0', b'"candidate": "\\ud800', 1),
    "a month that is none": SOUND_BYTES.replace(b"2026-03-01T10", b"2026-13-01T10"),
    "no events": content_of(document() | {"events": []}),
    "one name more": content_of(document() | {"comment": "trust me"}),
    "one name less": content_of({k: v for k, v in document().items() if k != "known_at"}),
}


@pytest.mark.parametrize("name", NO_EVIDENCE)
def test_what_is_no_evidence_file_is_called_so_in_one_sentence(name: str, tmp_path: Path) -> None:
    assert reason(NO_EVIDENCE[name]) is Reason.NOT_EVIDENCE
    code, said = by_script(NO_EVIDENCE[name], tmp_path)
    assert code == 1
    assert said.startswith("refused (")
    assert said.count("\n") == 1


def test_a_huge_file_is_not_taken_apart() -> None:
    assert reason(b" " * (MOST_BYTES + 1)) is Reason.NOT_EVIDENCE


def test_a_newer_version_is_called_so(tmp_path: Path) -> None:
    content = content_of(document() | {"version": 2})
    assert reason(content) is Reason.UNKNOWN_VERSION
    assert by_script(content, tmp_path)[1].startswith("refused (unknown-version)")


def test_what_a_file_says_cannot_steer_a_terminal() -> None:
    assert shown("a\x1b[2Jb\u202ec\nd\x9be\ud800") == "a�[2Jb�c�d�e�"
    assert shown("Zoë – 東京 😀") == "Zoë – 東京 😀"
