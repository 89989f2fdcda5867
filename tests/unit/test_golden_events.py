"""The stored form of every event is final: golden files of each type and schema version ever written."""

import json
from pathlib import Path
from typing import Any

import pytest

from domain import candidate, pool
from infra import codec
from infra.crypto import sealing
from infra.jetstream.message import document
from infra.jetstream.message import encode as encode_message
from tests.golden.samples import READ_AS, samples
from tests.golden.write import FOLDER

GOLDEN = sorted(FOLDER.glob("*.json"))
SAMPLES = samples()


def _read(path: Path) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return golden


def test_every_version_of_every_event_type_has_a_golden_file() -> None:
    """And nothing else has one: a type or a version once written stays readable."""
    classes = [(f"{kind}.{type_}", cls.v) for kind, table in codec.CATALOGUES.items() for type_, cls in table.items()]
    assert {f"{name}.v{v}" for name, newest in classes for v in range(1, newest + 1)} == {p.stem for p in GOLDEN}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_stored_bytes_of_every_version_are_read_as_the_event_they_were(path: Path) -> None:
    """Those of an older version as the newest one says it."""
    golden = _read(path)
    stored, key = document(golden["stored"].encode()), bytes.fromhex(golden["key_hex"])
    event = codec.decode(stored["id"], stored["version"], stored["type"], stored["state"], key)
    name, _, v = path.stem.rpartition(".v")
    assert event == READ_AS.get(path.stem, SAMPLES[name])
    if int(v) == event.v:
        assert event.model_dump(mode="json") == golden["fields"]


@pytest.mark.parametrize("name", SAMPLES)
def test_writing_the_same_event_gives_the_same_bytes(name: str) -> None:
    event = SAMPLES[name]
    golden = _read(FOLDER / f"{name}.v{event.v}.json")
    key, nonce = bytes.fromhex(golden["key_hex"]), bytes.fromhex(golden["nonce_hex"])
    stored = encode_message(codec.encode(golden["aggregate"], golden["version"], event, key, nonce))
    assert stored.decode() == golden["stored"]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_no_personal_value_stands_in_the_clear(path: Path) -> None:
    golden = _read(path)
    stored, key = document(golden["stored"].encode()), bytes.fromhex(golden["key_hex"])
    opened = codec.open_state(stored["id"], stored["version"], stored["type"], stored["state"], key)
    cls = codec.event_class(*path.stem.split(".")[:2])
    declared = codec.personal_fields(cls) if opened.v == cls.v else ()  # an older version may have had others
    personal = _texts(opened.personal) + _texts([golden["fields"].get(name) for name in declared])
    clear = golden["stored"].partition('"sealed"')[0]
    assert personal
    assert not [text for text in personal if text in clear]


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [] if value is None else [str(value)]


def test_a_sealed_block_moved_to_another_place_does_not_open() -> None:
    golden = _read(FOLDER / "candidate.sourced.v1.json")
    stored, key = document(golden["stored"].encode()), bytes.fromhex(golden["key_hex"])
    for name, version, type_ in (
        ("candidate-" + "d1" * 16, stored["version"], stored["type"]),
        (stored["id"], stored["version"] + 1, stored["type"]),
        (stored["id"], stored["version"], "profile_corrected"),
    ):
        with pytest.raises(sealing.SealBrokenError):
            codec.decode(name, version, type_, stored["state"], key)


def test_without_its_key_an_event_keeps_its_clear_part_only() -> None:
    golden = _read(FOLDER / "candidate.sourced.v1.json")
    stored = document(golden["stored"].encode())
    opened = codec.open_state(stored["id"], stored["version"], stored["type"], stored["state"], None)
    assert opened.personal is None
    assert opened.clear["seniority"] == "principal"
    with pytest.raises(codec.KeyDestroyedError):
        codec.decode(stored["id"], stored["version"], stored["type"], stored["state"], None)


def test_the_catalogue_holds_what_the_design_names() -> None:
    assert set(candidate.EVENTS) == {
        *("sourced", "profile_corrected", "tagged", "untagged", "emailed", "messaged", "delivered", "bounced"),
        *("complained", "opened", "clicked", "replied", "event_attended", "consent_given", "consent_withdrawn"),
        *("opted_out", "opted_in", "basis_recorded", "notice_given", "merged", "unmerged", "preferences_updated"),
        *("applied", "stage_changed", "rejected", "hired", "consent_requested", "consent_refused", "restricted"),
        *("restriction_lifted", "request_received", "request_extended", "request_closed", "recipient_notified"),
        "erased",
    }
    assert set(pool.EVENTS) == {
        *("created", "rule_changed", "candidate_pinned", "candidate_unpinned", "candidate_excluded", "archived"),
    }
