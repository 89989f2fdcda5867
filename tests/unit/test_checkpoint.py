"""Signed notes and checkpoints as C2SP specifies them, and the key that signs them."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.checkpoint import Checkpoint, NoteForged, NoteMalformed, VerifyingKey, opened, signed
from infra.checkpoints import Checkpoints
from infra.crypto.signing import SigningKey, SigningKeyError, check, local_signing_key

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE = (
    f"{TEXT}\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
"""The example of the documentation of golang.org/x/mod/sumdb/note, where the format comes from."""
EXAMPLE = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
"""The example of c2sp.org/signed-note."""
KEY = SigningKey(bytes(range(32)))


def test_the_examples_of_the_specification_verify() -> None:
    assert opened(NOTE, VerifyingKey.of(PETER), check) == TEXT
    assert opened(EXAMPLE_NOTE, VerifyingKey.of(EXAMPLE), check) == "This is an example message.\n"


def test_our_key_signs_as_the_example_does() -> None:
    """Ed25519 has one signature for a text, so the whole note is known."""
    peter = SigningKey(PETERS_SEED)
    assert peter.named("PeterNeumann").vkey == PETER
    assert peter.note(TEXT, "PeterNeumann") == NOTE


def test_the_checkpoint_of_the_specification_is_read() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    found = Checkpoint.of(text)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.text == text
    assert Checkpoint.of(text + "an extension\n") == found


def test_signatures_of_others_are_passed_over() -> None:
    """Witnesses may add theirs; ours may stand anywhere among them."""
    other = SigningKey(b"\x07" * 32)
    both = NOTE + other.note(TEXT, "witness.example/w").rpartition("\n\n")[2]
    assert opened(both, VerifyingKey.of(PETER), check) == TEXT
    assert opened(both, other.named("witness.example/w"), check) == TEXT
    with pytest.raises(NoteForged, match="not signed by"):
        opened(both, other.named("PeterNeumann"), check)  # the name, under another key


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(0, 7))
def test_no_bit_of_a_note_can_be_flipped(at: int, bit: int) -> None:
    changed = bytearray(NOTE.encode())
    changed[at] ^= 1 << bit
    try:
        text = changed.decode()
    except UnicodeDecodeError:
        return  # whoever reads notes reads text
    with pytest.raises((NoteForged, NoteMalformed)):
        opened(text, VerifyingKey.of(PETER), check)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "text\n",
        "text\n\n",
        NOTE.removesuffix("\n"),
        NOTE + "\n",
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("— ", "- "),
        NOTE.replace("you ", "you\t"),
        NOTE + "— x y\n" * 200,
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises((NoteMalformed, NoteForged)):
        opened(note, VerifyingKey.of(PETER), check)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n-1\n" + "A" * 43 + "=\n",
        "a\n1\nAAAA\n",
        "a\n1\n" + "A" * 43 + "=",
        "a\n\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 42 + "B=\n",
        "a\n" + "9" * 20 + "\n" + "A" * 43 + "=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteMalformed):
        Checkpoint.of(text)


@pytest.mark.parametrize(
    "vkey",
    ["", "a", "a+b", PETER[1:], PETER[:-1], PETER.replace("c74f", "c74e"), PETER.replace("+AR", "+BR"), " " + PETER],
)
def test_what_is_no_key_is_refused(vkey: str) -> None:
    with pytest.raises(NoteMalformed):
        VerifyingKey.of(vkey)


def test_a_text_with_control_characters_is_not_signed() -> None:
    for text in ("no end", "a\tb\n", "a\rb\n"):
        with pytest.raises(NoteMalformed):
            signed(text, KEY.named("x"), b"")


# ── the key ────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    made = local_signing_key(None, path, signed_before=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert local_signing_key(None, path, signed_before=True).named("x") == made.named("x")
    assert [p.name for p in tmp_path.iterdir()] == ["signing.key"]


def test_a_lost_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyError, match="is missing"):
        local_signing_key(None, tmp_path / "signing.key", signed_before=True)
    assert list(tmp_path.iterdir()) == []


def test_a_key_from_a_setting_is_taken_in_either_form(tmp_path: Path) -> None:
    seed = bytes(range(32))
    for text in (seed.hex(), base64.b64encode(seed).decode(), f" {seed.hex()}\n"):
        key = local_signing_key(text, tmp_path / "signing.key", signed_before=False)
        assert key.named("x") == KEY.named("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "short", "ü" * 40, "0" * 63 + "g", "AAAA", "\x00" * 32])
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "signing.key"
    path.write_text(content, "utf-8")
    with pytest.raises(SigningKeyError) as refusal:
        local_signing_key(None, path, signed_before=False)
    assert "\n" not in str(refusal.value)
    assert path.read_text("utf-8") == content


# ── the notes on disk ──────────────────────────────────────────────────────────────────────────────


def notes(count: int) -> list[str]:
    return [KEY.note(Checkpoint("log", n, bytes(32)).text, "log") for n in range(1, count + 1)]


def test_every_note_is_kept_and_the_last_one_found(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    assert kept.last() is None
    for note in notes(3):
        kept.add(note, "vkey")
        assert Checkpoints(tmp_path / "checkpoints").last() == note
    assert (tmp_path / "checkpoints" / "history").read_text() == "".join(f"{note}\n\n" for note in notes(3))
    assert (tmp_path / "checkpoints" / "latest").read_text() == notes(3)[-1]
    assert (tmp_path / "checkpoints" / "vkey").read_text() == "vkey\n"


@pytest.mark.parametrize("survives", range(len(notes(1)[0].encode()) + 2))
def test_a_note_cut_off_by_a_crash_counts_as_never_signed(tmp_path: Path, survives: int) -> None:
    """Wherever its writing ended. The next one takes its place."""
    kept = Checkpoints(tmp_path)
    first, second, third = notes(3)
    kept.add(first, "vkey")
    with (tmp_path / "history").open("ab") as file:
        file.write(f"{second}\n\n".encode()[:survives])
    assert kept.last() == first
    kept.add(third, "vkey")
    assert kept.last() == third
    assert (tmp_path / "history").read_text() == f"{first}\n\n{third}\n\n"


def test_the_last_of_many_notes_is_found_without_reading_them_all(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("".join(f"{note}\n\n" for note in notes(2_000)))
    assert Checkpoints(tmp_path).last() == notes(2_000)[-1]


def test_a_history_that_is_none_is_left_alone(tmp_path: Path) -> None:
    garbage = os.urandom(1) * 100_000
    (tmp_path / "history").write_bytes(garbage)
    with pytest.raises(NoteMalformed, match="put it back"):
        Checkpoints(tmp_path).last()
    with pytest.raises(NoteMalformed):
        Checkpoints(tmp_path).add(notes(1)[0], "vkey")
    assert (tmp_path / "history").read_bytes() == garbage


def test_a_disk_without_room_leaves_the_note_before_as_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoints(tmp_path)
    first, second = notes(2)
    kept.add(first, "vkey")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            kept.add(second, "vkey")
    assert kept.last() == first
    assert (tmp_path / "latest").read_text() == first
    kept.add(second, "vkey")
    assert kept.last() == second
