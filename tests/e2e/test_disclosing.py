"""`rapport export` and `rapport requests`, as a compliance officer types them."""

from __future__ import annotations

import json
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.disclosure.document import EVENTS_FILE, NAMES
from tests.e2e.harness import TIMEOUT_S, complaint, did, lines, ok, process, up

ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running node with two people."""
    folder = tmp_path_factory.mktemp("e2e")
    with up(folder / "data"):
        people = [did("sourced", who, source="linkedin", first_name=who[:3].title()) for who in (ADA, BOB)]
        ok(folder / "data", "import", lines(folder / "people.ndjson", people))
        yield folder / "data"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def of(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "person.json").read_bytes())
    return document


def whole(name: str, content: bytes) -> None:
    """Fails where a file ends before its end."""
    match Path(name).suffix:
        case ".json":
            json.loads(content)
        case ".html":
            assert content.rstrip().endswith(b"</html>")
        case _:
            assert content.endswith(b"\n")
            assert name != EVENTS_FILE or all(json.loads(line) for line in content.splitlines())


def test_a_request_is_opened_carried_out_and_closed(data: Path, tmp_path: Path) -> None:
    """Each command names the next one."""
    ok(data, "requests", "open", ADA, "access", "--details", "a copy, please", "--channel", "email")
    (row,) = json.loads(ok(data, "requests", "list", "--of", ADA, "--json"))["requests"]
    request = row["request_id"]
    shown = ok(data, "requests", "show", request).decode()
    assert f"rapport export {row['candidate_id']} -o DIR --request {request}" in shown
    assert "details: a copy, please" in " ".join(shown.split())
    said = ok(data, "export", ADA, "-o", tmp_path / "ada", "--request", request).decode()
    assert f"rapport requests close {request} --outcome fulfilled" in said
    assert of(tmp_path / "ada")["request"]["request"] == request
    assert request in ok(data, "requests", "list", "--of", ADA).decode(), "an export closes nothing"
    ok(data, "requests", "extend", request, "--reason", "number")
    ok(data, "requests", "close", request, "--outcome", "fulfilled")
    assert request not in ok(data, "requests", "list", "--of", ADA).decode()
    assert request in ok(data, "requests", "list", "--of", ADA, "--all").decode()
    assert "closed" in complaint(data, "requests", "close", request, "--outcome", "fulfilled")
    assert "no request of this id" in complaint(data, "requests", "show", "0" * 32)


def test_recipients_are_told_by_command(data: Path) -> None:
    opened = json.loads(ok(data, "requests", "open", BOB, "restriction", "--json"))
    ok(data, "requests", "told", opened["request_id"], "Mailer Ltd")
    ok(data, "requests", "told", opened["request_id"], "Mailer Ltd", "--acknowledged")
    told = json.loads(ok(data, "requests", "show", opened["request_id"], "--json"))["recipients"]
    assert [(t["recipient"], t["acknowledged"]) for t in told] == [("Mailer Ltd", False), ("Mailer Ltd", True)]


def test_the_files_are_for_their_owner_and_replace_an_earlier_export(data: Path, tmp_path: Path) -> None:
    """What an attempt that was killed left is written over."""
    folder = tmp_path / "deep" / "ada"
    first = json.loads(ok(data, "export", ADA, "-o", folder, "--json"))
    assert contents(folder).keys() == set(NAMES)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    (folder / ".index.html.new").write_text("cut off")
    (folder / "index.html").unlink()
    ok(data, "import", lines(tmp_path / "more.ndjson", [did("tagged", ADA, tag="later")]))
    again = json.loads(ok(data, "export", ADA, "-o", folder, "--json"))
    assert contents(folder).keys() == set(NAMES)
    assert again["events"] == first["events"] + 1
    assert b"later" in contents(folder)["index.html"]


def test_a_folder_of_others_is_left_as_it_is(data: Path, tmp_path: Path) -> None:
    """An export of somebody else, and files of whatever kind; nothing is left of an export that could not be made."""
    folder, notes = tmp_path / "ada", tmp_path / "notes"
    ok(data, "export", ADA, "-o", folder)
    before = contents(folder)
    assert "somebody else" in complaint(data, "export", BOB, "-o", folder)
    assert contents(folder) == before
    notes.mkdir()
    (notes / "person.json").write_text('{"format": "another"}')
    assert "not empty" in complaint(data, "export", ADA, "-o", notes)
    (notes / "person.json").rename(notes / "diary.txt")
    assert "not empty" in complaint(data, "export", ADA, "-o", notes)
    assert contents(notes).keys() == {"diary.txt"}
    assert "cannot be read" in complaint(data, "export", ADA, "-o", notes / "diary.txt")
    assert "no candidate" in complaint(data, "export", "nobody@example.com", "-o", tmp_path / "nobody")
    assert not (tmp_path / "nobody").exists()


@pytest.mark.parametrize("after_s", [0.5, 1.0, 1.5, 2.5])
def test_interrupted_at_any_moment_it_leaves_everything_or_nothing_half(
    data: Path, tmp_path: Path, after_s: float
) -> None:
    """No file is cut off, and doing it again completes the folder."""
    folder = tmp_path / "ada"
    with process(data, "export", ADA, "-o", folder) as running:
        time.sleep(after_s)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode in (0, 130, -signal.SIGINT), err.decode()
    left = contents(folder) if folder.exists() else {}
    assert left.keys() <= set(NAMES), "nothing half-written"
    assert running.returncode or left.keys() == set(NAMES), "success is all of it"
    for name, content in left.items():
        whole(name, content)
    ok(data, "export", ADA, "-o", folder)
    assert contents(folder).keys() == set(NAMES)
