"""Importing files into a running node: every form, every flaw, line by line."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from api.cli.client import Client, client_of, served
from api.cli.data import rejected_path, run_import
from api.failures import FileRefused
from api.http.roles import Role, Tokens
from api.importing import open_source
from api.node import Node
from infra.logging import configure
from infra.settings import Settings
from tests.views import with_empty_views

DAY = "2026-03-01T09:30:00Z"
_LOCAL, _LABEL = r"[\w'+-]+", r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
ADDRESS = re.compile(rf"{_LOCAL}(\.{_LOCAL})*@({_LABEL}\.)+{_LABEL}")
FAKE_1000 = Path(__file__).parents[2].parent / "shared" / "data" / "fake_1000.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def tokens(client: Client, folder: Path) -> Tokens:
    return Tokens.of(folder / "tokens.json")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    """A node's client; its data folder lives as long as this module's tests."""
    configure("error")
    with (
        Node(Settings(data=with_empty_views(folder), port=0)) as node,
        served(node) as url,
        client_of(url, node.settings) as http,
    ):
        yield Client(http)


def did(type_: str, who: Any = None, **fields: Any) -> dict[str, Any]:
    envelope = {k: fields.pop(k) for k in ("id", "actor", "source") if k in fields}
    return {
        "id": uuid4().hex,
        "type": type_,
        "candidate": {"email": who or f"{uuid4().hex[:12]}@example.com"},
        "occurred_at": DAY,
        "data": fields,
    } | envelope


def line(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def load(client: Client, path: Path, source: str | None = None) -> dict[str, Any]:
    """The summary of importing `path`."""
    return run_import(client, open_source(str(path), source), rejected_path(str(path)), quiet=True)


def counts(summary: dict[str, Any]) -> tuple[int, int, int]:
    return summary["accepted"], summary["duplicates"], summary["rejected"]


def rejected(path: Path) -> list[tuple[int, str]]:
    """Line number and code of each rejected line."""
    entries = [json.loads(text) for text in rejected_path(str(path)).read_text("utf-8").splitlines()]
    assert all(e["reason"] for e in entries)
    return [(e["line"], e["code"]) for e in entries]


def trail(client: Client, who: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = client.get(f"/v1/compliance/candidates/{who}/trail")["events"]
    return events


# ── forms ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["ndjson", "array", "pretty array"])
def test_interactions_in_json_are_taken_once(client: Client, tmp_path: Path, form: str) -> None:
    documents = [did("sourced", first_name="José 😀"), did("sourced")]
    text = {
        "ndjson": b"\n".join(map(line, documents)),
        "array": line(documents),
        "pretty array": json.dumps(documents, indent=2).encode() + b"\n",
    }[form]
    path = tmp_path / "in.json"
    path.write_bytes(text)
    first = load(client, path)
    assert counts(first) == (2, 0, 0)
    assert first["last_seq"] == client.last_seq()
    assert first["rejected_file"] is None
    assert not rejected_path(str(path)).exists()
    assert counts(load(client, path)) == (0, 2, 0)
    assert client.last_seq() == first["last_seq"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_csv_of_people_sources_and_tags_them(client: Client, tmp_path: Path, delimiter: str, ending: str) -> None:
    who = f"{uuid4().hex[:12]}@example.com"
    rows = [
        ["E-mail", "Given Name", "Surname", "City", "Title", "Skills", "Tags", "Level", "Shoe size"],
        [who, "Ada", 'Love"lace', "London\nUK", "Analyst", "go|sql", "warm|london", "SENIOR", "38"],
    ]
    path = tmp_path / "people.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator=ending).writerows(rows)
    summary = load(client, path, "fair")
    assert counts(summary) == (3, 0, 0)
    assert summary["ignored_columns"] == ["shoe_size"]
    found = client.get(f"/v1/candidates/{who}")
    wanted = {
        "first_name": "Ada",
        "last_name": 'Love"lace',
        "location": "London UK",
        "headline": "Analyst",
        "skills": ["go", "sql"],
        "tags": ["london", "warm"],
        "seniority": "senior",
        "sources": ["fair"],
    }
    assert {k: sorted(v) if isinstance(v, list) else v for k, v in found.items() if k in wanted} == wanted
    assert counts(load(client, path, "fair")) == (0, 3, 0)


def test_a_csv_of_interactions_has_the_records_own_column_names(client: Client, tmp_path: Path) -> None:
    who = f"{uuid4().hex[:12]}@example.com"
    path = tmp_path / "interactions.csv"
    path.write_text(
        "id,type,occurred_at,candidate.email,actor,channel,data.method,tag,skills,machine\n"
        f"a{who},sourced,{DAY},{who},user:me,,,,go|sql,\n"
        f"b{who},tagged,{DAY},{who},user:me,,,warm,,\n"
        f"c{who},opened,{DAY},{who},,email,,,,true\n"
        f"d{who},opted_out,{DAY},{who},candidate:self,email,link,,,\n"
        f"e{who},opted_out,{DAY},{who},candidate:self,email,link,surplus,,\n"
    )
    assert counts(load(client, path)) == (4, 0, 1)
    assert rejected(path) == [(6, "invalid-interaction")]
    assert [e["type"] for e in trail(client, who)] == ["sourced", "opted_out"]
    assert client.get(f"/v1/candidates/{who}")["tags"] == ["warm"]


def test_one_person_in_several_rows_is_one_candidate(client: Client, tmp_path: Path) -> None:
    tail = uuid4().hex[:10]
    path = tmp_path / "people.csv"
    path.write_text(f"id,email,phone\n1,A.{tail}@example.com,\n2,a.{tail}@EXAMPLE.com,\n3,,\n4,a.{tail}@example.com,\n")
    assert counts(load(client, path)) == (4, 0, 0)
    found = [client.get(f"/v1/candidates/people:{n}")["canonical_id"] for n in (1, 2, 3, 4)]
    assert found[0] == found[1] == found[3] != found[2]


def test_a_changed_row_is_recorded_and_the_unchanged_ones_are_known(client: Client, tmp_path: Path) -> None:
    path = tmp_path / f"{uuid4().hex}.csv"
    path.write_text("id,first_name,last_name\n1,Ada,L\n2,Grace,H\n")
    assert counts(load(client, path)) == (2, 0, 0)
    path.write_text("id,first_name,last_name\n1,Ada,Lovelace\n2,Grace,H\n")
    assert counts(load(client, path)) == (1, 1, 0)
    assert client.get(f"/v1/candidates/{path.stem}:1")["last_name"] == "Lovelace"


# ── flaws ──────────────────────────────────────────────────────────────────────────────────────────


def test_each_flawed_line_is_rejected_by_its_number_and_the_others_are_taken(client: Client, tmp_path: Path) -> None:
    """BOM, CRLF, blank lines, bytes that are not UTF-8, a line of 2 MB, and every sort of bad record."""
    good = did("sourced")
    lines = [
        line(good),  # 1
        b"",
        b"{broken",  # 3
        b"   \t",
        line(did("winked")),  # 5
        line(did("sourced", first_name="x")).replace(b"x", b"\xff"),  # 6
        line(did("sourced", headline="y" * 2_000_000)),  # 7
        line({"type": "sourced"}),  # 8
        line(did("sourced") | {"occurred_at": "2026-03-01T09:30:00"}),  # 9
        line(did("tagged", tag="go")),  # 10: nobody
        line(did("sourced")),  # 11
        b"[1]",  # 12
        line(good),  # 13: known
    ]
    path = tmp_path / "bad.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    summary = load(client, path)
    assert counts(summary) == (2, 1, 8)
    assert summary["rejected_file"] == str(rejected_path(str(path)))
    assert sorted(rejected(path)) == [
        (3, "invalid-json"),
        (5, "invalid-interaction"),
        (6, "unreadable"),
        (7, "unreadable"),
        (8, "invalid-interaction"),
        (9, "invalid-interaction"),
        (10, "unresolved-candidate"),
        (12, "invalid-interaction"),
    ]
    assert rejected_path(str(path)).stat().st_mode & 0o077 == 0, "it may hold personal data"
    assert counts(load(client, path)) == (0, 3, 8)
    path.write_bytes(line(good))
    load(client, path)
    assert not rejected_path(str(path)).exists(), "a clean import leaves no old complaints behind"


def test_rejected_lines_are_written_in_the_order_of_the_file(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "bad.ndjson"
    path.write_bytes(b"\n".join([line(did("winked")), b"\xff", line(did("winked")), b"\xff"]))
    assert counts(load(client, path)) == (0, 0, 4)
    assert [n for n, _ in rejected(path)] == [1, 2, 3, 4]


def test_the_rejected_records_can_be_corrected_and_imported(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "bad.ndjson"
    wrong = did("sourced") | {"occurred_at": "2026-03-01T09:30:00"}
    path.write_bytes(line(did("sourced")) + b"\n" + line(wrong))
    load(client, path)
    entry = json.loads(rejected_path(str(path)).read_bytes())
    assert json.loads(entry["record"]) == wrong
    corrected = tmp_path / "corrected.ndjson"
    corrected.write_bytes(line(wrong | {"occurred_at": DAY}))
    assert counts(load(client, corrected)) == (1, 0, 0)


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_lines_are_numbered_from_the_top_of_the_file_blank_ones_included(
    client: Client, tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"in.{form}"
    if form == "ndjson":
        path.write_bytes(b"\n\n" + line(did("sourced")) + b"\n\n" + line(did("winked")) + b"\n")
    else:
        path.write_bytes(b"\n\nemail\n\nnot an address\n")
    load(client, path)
    assert [n for n, _ in rejected(path)] == [5]


def test_flawed_rows_of_a_csv_are_rejected_by_line_and_the_others_are_taken(client: Client, tmp_path: Path) -> None:
    tail = uuid4().hex[:10]
    path = tmp_path / "people.csv"
    path.write_bytes(
        b"email,first_name,city\r\n"
        + f"a.{tail}@example.com,Ada,London\r\n".encode()
        + b"nobody,Grace,Paris\r\n"  # 3
        + b"too,few\r\n"  # 4
        + b"\r\n"
        + f'b.{tail}@example.com,"two\r\nlines",Rome\r\n'.encode()  # 6, 7
        + b"x@example.com,\xff\xfe,Bonn\r\n"  # 8
        + b",Nobody,Bonn\r\n"  # 9
        + f"c.{tail}@example.com,{'y' * 2_000_000},Bonn\r\n".encode()  # 10
        + f"d.{tail}@example.com,Radia,Bonn\r\n".encode()
    )
    assert counts(load(client, path)) == (3, 0, 5)
    assert [n for n, _ in sorted(rejected(path))] == [3, 4, 8, 9, 10]


@pytest.mark.parametrize("quotes", [1, 2])
def test_a_stray_quote_costs_its_own_line_and_swallows_no_other(client: Client, tmp_path: Path, quotes: int) -> None:
    """Three opt-outs, one or two with an open quote: the others are recorded, none is lost without a word."""
    people = [f"{n}.{uuid4().hex[:10]}@example.com" for n in "abcd"]
    stray = ['"' if n < quotes else "" for n in range(len(people))]
    rows = [f"opted_out,{DAY},{who},email,{quote}candidate:self\n" for who, quote in zip(people, stray, strict=True)]
    path = tmp_path / "optouts.csv"
    path.write_text("type,occurred_at,candidate.email,channel,actor\n" + "".join(rows), "utf-8")
    with_source = path.read_text("utf-8").replace("actor\n", "actor,source\n").replace("self\n", "self,crm\n")
    path.write_text(with_source, "utf-8")
    assert counts(load(client, path)) == (len(people) - quotes, 0, quotes)
    assert [n for n, _ in rejected(path)] == [2, 3][:quotes]
    for who in people[quotes:]:
        route = f"/v1/compliance/candidates/{who}/contactability"
        assert client.get(route, channel="email")["status"] == "opted_out"


def test_a_time_at_the_edge_of_the_calendar_rejects_its_line_alone(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "edge.ndjson"
    edge = did("sourced") | {"occurred_at": "0001-01-01T00:00:00+14:00"}
    path.write_bytes(b"\n".join([line(did("sourced")), line(edge), line(did("sourced"))]))
    assert counts(load(client, path)) == (2, 0, 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n \n",
        b"\xef\xbb\xbf",
        b"hello\nworld\n",
        b"first_name,last_name\nAda,Lovelace\n",
        b"[1, 2",
        b"[{]\n",
        b"\x00\x01\x02\xff" * 1000,
        "email\nada@example.com\n".encode("utf-16"),
        b"PK\x03\x04" + bytes(range(256)) * 50,
        b'"' + b"x" * 1_100_000,
        b"," * 900_000,
    ],
)
def test_a_file_of_no_known_form_is_refused_in_one_sentence(client: Client, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "strange.bin"
    path.write_bytes(content)
    before = client.last_seq()
    with pytest.raises(FileRefused) as refusal:
        load(client, path)
    assert "strange.bin" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert client.last_seq() == before


def test_an_array_with_flaws_counts_its_elements(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "array.json"
    path.write_bytes(line([did("sourced"), 7, did("winked"), did("sourced")]))
    assert counts(load(client, path)) == (2, 0, 2)
    assert [n for n, _ in rejected(path)] == [2, 3]


# ── a real file ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not FAKE_1000.exists(), reason="the checkout has no ../shared/data/fake_1000.csv beside it")
def test_fake_1000_becomes_one_candidate_an_address_and_one_a_row_without(
    client: Client, tokens: Tokens, tmp_path: Path
) -> None:
    """Counted independently with the csv module. Rows whose address is none are rejected by their line; `dob` and
    `cluster` are not used and reported so."""
    path = tmp_path / "fake_1000.csv"
    path.write_bytes(FAKE_1000.read_bytes())
    groups: dict[str, list[str]] = {}
    malformed = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            address, ref = row["email"].strip().lower(), f"ref:fake_1000:{row['unique_id']}"
            if address and not ADDRESS.fullmatch(address):
                malformed.append((number, "invalid-interaction"))
            else:
                groups.setdefault(address or ref, []).append(ref)
    good = sum(map(len, groups.values()))
    assert (good + len(malformed), len(malformed), len(groups)) == (1_000, 30, 605)
    before = client.last_seq()
    first = load(client, path)
    assert counts(first) == (good, 0, len(malformed))
    assert rejected(path) == malformed
    assert first["last_seq"] == before + good
    assert set(first["ignored_columns"]) == {"cluster", "dob"}
    query = {
        "query": "select list_filter(identifiers, lambda i: starts_with(i, 'ref:fake_1000:')) as refs "
        "from pii.profile where len(refs) > 0"
    }
    with client.stream("POST", "/v1/sql", tokens[Role.ADMIN], json=query) as streamed:
        answer = json.loads(streamed.read())
    assert sorted(sorted(a["refs"]) for a in answer) == sorted(map(sorted, groups.values()))
    assert counts(load(client, path)) == (0, good, len(malformed))
    assert client.last_seq() == first["last_seq"]
