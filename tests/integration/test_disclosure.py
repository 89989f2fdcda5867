"""The export of a person: everything about them is in it, nothing about anybody else, and it can be read by both."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest

from api.cli.client import client_of, served
from api.disclosure.archive import NAMES
from api.disclosure.document import Person, schema
from api.disclosure.values import rows
from api.node import Node
from api.references import reference_of
from domain import candidate as c
from domain.event import personal_fields
from domain.policy import ErasureGround
from infra.ledger import Append
from infra.logging import configure
from infra.settings import Settings
from projections import person
from tests.integration.test_http import did, get, record, running, somebody
from tests.older import sealed_by_hand

HOSTILE = (
    '"><script>alert(1)</script><img src="//evil.example/x" onerror=alert(2)>',
    "</title></style></bdi><h1>not a heading</h1>",
    "\u202egnp.exe\u202c שלום עולם مرحبا",
    "👩🏽‍💻 🏳️‍🌈 e\u0301 \u200b",
    "x" * 19_000 + " & the end",
    "line one\nline two\ttabbed",
)
MARK, OTHER = "Mq9Tz", "Wk4Xj"
AGAINST = ("opted_out", "complained", "restricted")
"""After these a person is in no pool."""


@pytest.fixture(scope="module")
def node_and_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with running(tmp_path_factory.mktemp("node")) as pair:
        yield pair


@pytest.fixture
def node(node_and_http: tuple[Node, httpx.Client]) -> Node:
    return node_and_http[0]


@pytest.fixture
def http(node_and_http: tuple[Node, httpx.Client]) -> httpx.Client:
    return node_and_http[1]


def exported(http: httpx.Client, ref: str, **params: Any) -> dict[str, bytes]:
    """The files, by name."""
    seq = get(http, "/v1/status")["ledger"]["last_seq"]
    answer = http.get(f"/v1/compliance/candidates/{quote(ref, safe='')}/export", params={"min_seq": seq} | params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as whole:
        assert tuple(whole.namelist()) == NAMES
        return {name: whole.read(name) for name in NAMES}


def events_in(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files["events.ndjson"].splitlines()]


def everything(who: str, mark: str, **envelope: Any) -> list[dict[str, Any]]:
    """An event of every type that is no command, with a marker in every personal field."""
    needed: dict[str, dict[str, Any]] = {
        "bounced": {"kind": "soft"},
        "event_attended": {"event": "fair"},
        "stage_changed": {"stage": "interview"},
        "basis_recorded": {"basis": "contract", "lia": "LIA-1"},
        "notice_given": {"article": "14"},
        "restricted": {"ground": "unlawful"},
        "request_received": {"request": uuid4().hex, "asks_for": "access"},
        "recipient_notified": {"recipient": f"{mark} Ltd", "about": "erasure"},
    }
    after = {"request_extended": {"reason": "number"}, "request_closed": {"outcome": "fulfilled"}}
    needed |= {name: more | {"request": needed["request_received"]["request"]} for name, more in after.items()}
    documents = []
    for type_, event in c.EVENTS.items():
        if type_ in c.BY_COMMAND or type_ in ("merged", "unmerged"):
            continue
        names = personal_fields(event) - {"identifiers", "actor", "interaction"}
        data: dict[str, Any] = {n: [f"{mark} {n}"] if n == "skills" else f"{mark} {n} of {type_}" for n in names}
        documents.append(did(type_, who, **data, **needed.get(type_, {}), **envelope))
    return documents


def test_every_type_of_event_and_every_personal_field_is_in_it(node: Node, http: httpx.Client) -> None:
    """In the lines, in the page, and as the ledger's own events have them: field by field, seq and both times."""
    who = somebody()
    record(http, *everything(who, MARK, source="import", actor=f"user:{MARK} recruiter"))
    files = exported(http, who)
    lines = events_in(files)
    (history,) = node.histories(node.recording.resolve(reference_of(who)))
    assert len(lines) == len(history) == len(c.EVENTS) - len(c.BY_COMMAND) - 2
    by_seq = {line["seq"]: line for line in lines}
    for recorded in history:
        line, event = by_seq[recorded.seq], recorded.event
        stored = event.model_dump(mode="json", exclude_none=True, exclude={"occurred_at"})
        assert line["data"] == {k: v for k, v in stored.items() if v != [] or k not in personal_fields(type(event))}
        assert (line["type"], line["record"], line["version"]) == (event.type, recorded.id, recorded.version)
        assert datetime.fromisoformat(line["occurred_at"]) == event.occurred_at
        assert datetime.fromisoformat(line["recorded_at"]) == recorded.recorded_at
        for name in personal_fields(type(event)) - {"identifiers", "actor", "interaction", "skills"}:
            assert f"{MARK} {name} of {event.type}" in files["index.html"].decode()
    document = Person.model_validate_json(files["person.json"])
    assert document.events.count == len(lines)
    assert document.events.unreadable == []
    named = set().union(*map(personal_fields, c.EVENTS.values())) - {"actor", "interaction"}
    assert {category.field for category in document.categories} >= named
    assert [(r.recipient, r.told_of) for r in document.recipients] == [(f"{MARK} Ltd", "erasure")]
    assert [s.source for s in document.sources] == ["import", "import"]


def test_it_holds_every_record_of_the_person_and_nothing_of_anybody_else(node: Node, http: httpx.Client) -> None:
    """Merged records, a late event, pins, pools; beside somebody with the same events who was merged by mistake."""
    ada, twin, other = somebody(), somebody(), somebody()
    record(http, *everything(other, OTHER, source="import", actor=f"user:{OTHER}"))
    welcome = [e for e in everything(ada, MARK, source="import") if e["type"] not in AGAINST]
    record(http, *welcome, did("sourced", twin, source="ats", first_name=f"{MARK} twin"))
    assert http.post(f"/v1/candidates/{twin}/merge", json={"into": ada}).status_code == 201
    assert http.post(f"/v1/candidates/{other}/merge", json={"into": ada}).status_code == 201
    assert http.post(f"/v1/candidates/{other}/unmerge", json={}).status_code == 201
    record(http, did("replied", twin, at="2020-01-01T00:00:00Z", text=f"{MARK} late", actor="candidate:self"))
    for who, mark in ((ada, MARK), (other, OTHER)):
        name = f"{mark} pool {uuid4().hex}"
        made = http.post("/v1/pools", json={"name": name, "rule": {"all": [{"tag": f"{mark} tag of tagged"}]}})
        assert made.status_code == 201, made.text
        pinned = http.put(f"/v1/pools/{quote(name)}/candidates/{who}", json={"place": "pinned"})
        assert pinned.status_code in (200, 201), pinned.text
    files = exported(http, twin)
    document = Person.model_validate_json(files["person.json"])
    ids = {node.recording.resolve(reference_of(who)) for who in (ada, twin)}
    assert set(document.records) == ids
    assert {line["record"] for line in events_in(files)} == ids
    assert events_in(files)[0]["data"]["text"] == f"{MARK} late"
    assert [p["pool"][:5] for p in document.placements] == [MARK]
    assert MARK in str(document.pools)
    other_id = node.recording.resolve(reference_of(other))
    for name, content in files.items():
        assert OTHER.encode() not in content, name
        assert other.encode() not in content, name
        for written in (other_id, str(UUID(other_id))):
            assert written.encode() not in content, name
    assert MARK not in str(exported(http, other))


def test_derived_rows_are_those_of_every_view_there_is(node: Node, http: httpx.Client) -> None:
    """Compared with each view asked by itself; the stored ones are all in it."""
    who = somebody()
    record(http, *everything(who, MARK, source="import"))
    document = Person.model_validate_json(exported(http, who)["person.json"])
    about_people = {view.name: view for view in node.projector.views if person.is_about_people(view)}
    assert document.derived.keys() == about_people.keys()
    assert {view.name for view in node.projector.views if view.stored} - about_people.keys() == {"pools", "pool_rule"}
    with node.projector.cursor() as cursor:
        for name, view in about_people.items():
            key = "canonical_id" if "canonical_id" in view.manifest.columns else "candidate_id"
            cursor.execute(f"from {view.table} where {key} = $1", [document.candidate])
            count = len(cursor.fetchall())
            found = document.derived[name]
            assert (len(found.rows), found.problem) == (count, None), name
            if "as_of()" not in view.query and view.stored:
                asked = rows(person.derived(cursor, view, document.candidate, document.records))
                assert found.rows == asked, name
    assert document.derived["profile"].rows[0]["first_name"].startswith(MARK)
    explained = get(http, f"/v1/engagement/{who}", explain=True)["events"]
    assert [row["seq"] for row in document.scores.contributions] == [row["seq"] for row in explained]
    assert document.scores.score is not None
    assert document.scores.score["model"] == document.scores.logic.model


def test_a_view_added_later_is_in_it_and_one_that_fails_is_named(tmp_path: Path) -> None:
    """Two views of one's own: one about people, one that DuckDB cannot compute for this person."""
    folder = tmp_path / "views"
    queries = {"nicknames": "select canonical_id, upper(first_name) as found from pii.profile"}
    queries["divisions"] = "select canonical_id, cast(first_name as integer) as found from pii.profile"
    for name, query in queries.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "view.toml").write_text(
            f'description = "{name}"\nschema = "pii"\ndepends_on = ["profile"]\n'
            '[columns]\ncanonical_id = "The person"\nfound = "What was found"\n'
        )
        (folder / name / "view.sql").write_text(query)
    configure("error")
    settings = Settings(data=tmp_path / "node", port=0, views=folder)
    with Node(settings) as node, served(node) as url, client_of(url, settings) as http:
        who = somebody()
        record(http, did("sourced", who, source="x", first_name="Ada"))
        document = Person.model_validate_json(exported(http, who)["person.json"])
    assert document.derived["nicknames"].rows == [{"canonical_id": document.candidate, "found": "ADA"}]
    failed = document.derived["divisions"]
    assert failed.rows == []
    assert failed.problem is not None
    assert "Ada" not in failed.problem
    assert [name for name, view in document.derived.items() if view.problem] == ["divisions"]
    assert document.derived["profile"].rows


class Page(HTMLParser):
    """What a browser would make of the page: elements, attributes, text. Every element must end where it should."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(content.decode())
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_text_is_shown_as_text(http: httpx.Client) -> None:
    """In a name, tag, reply and reason: no element, attribute or address comes of it, and every character is there."""
    who = somebody()
    record(
        http,
        did("sourced", who, source="x", first_name=HOSTILE[0][:299], headline=HOSTILE[1], employer=HOSTILE[2]),
        did("tagged", who, tag=HOSTILE[3]),
        *(did("replied", who, text=text, actor="candidate:self") for text in HOSTILE),
    )
    files = exported(http, who)
    page = Page(files["index.html"])
    names = {name for name, _ in page.elements}
    assert names.isdisjoint({"script", "img", "link", "iframe", "object", "base", "form"})
    assert sum(name == "h1" for name, _ in page.elements) == 1
    attributes = [(name, value) for _, found in page.elements for name, value in found.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("src", "action", "style")]
    assert all(str(value).startswith("#") for name, value in attributes if name == "href")
    for text in HOSTILE:
        assert text in page.text
    assert page.elements[0] == ("html", {"lang": "en"})
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert {str(value).removeprefix("#") for name, value in attributes if name == "href"} <= set(ids)
    assert ("meta", {"charset": "utf-8"}) in page.elements
    lines = events_in(files)
    assert {line["data"]["text"] for line in lines if line["type"] == "replied"} == set(HOSTILE)


def test_the_profile_is_a_json_resume(http: httpx.Client) -> None:
    """By the shape of schema 1.0.0: objects, arrays and strings where it has them, and nothing that is not known."""
    email = somebody()
    who = {"email": email, "phone": "+442079460123", "profile": f"https://www.linkedin.com/in/{uuid4().hex}"}
    full = {"first_name": "Ada", "last_name": "Lovelace", "headline": "Analyst", "employer": "Engines"}
    record(http, did("sourced", who, source="x", location="London, UK", skills=["SQL", "Rust"], **full))
    resume = json.loads(exported(http, email)["resume.json"])
    assert resume.keys() == {"$schema", "basics", "work", "skills", "meta"}
    basics = resume["basics"]
    assert (basics["name"], basics["label"], basics["email"]) == ("Ada Lovelace", "Analyst", email)
    assert (basics["phone"], basics["location"]) == ("+442079460123", {"address": "London, UK"})
    (profile,) = basics["profiles"]
    assert (profile["network"], profile["url"]) == ("LinkedIn", f"https://linkedin.com/in/{profile['username']}")
    assert (resume["work"], resume["skills"]) == ([{"name": "Engines"}], [{"name": "SQL"}, {"name": "Rust"}])
    datetime.strptime(resume["meta"]["lastModified"], "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 - the schema's form
    bare = somebody()
    record(http, did("sourced", bare, source="x"))
    assert json.loads(exported(http, bare)["resume.json"])["basics"] == {"email": bare}


@pytest.mark.parametrize("jurisdiction", ["FR", "DE", None])
def test_how_long_data_is_kept_is_by_the_law_of_the_person(
    node: Node, http: httpx.Client, jurisdiction: str | None
) -> None:
    """From the policy in force; the setting's where the person has none."""
    who = somebody()
    record(http, did("sourced", who, source="x", **({"jurisdiction": jurisdiction} if jurisdiction else {})))
    document = Person.model_validate_json(exported(http, who)["person.json"])
    terms = node.policy.terms(jurisdiction or node.settings.jurisdiction)
    figures = [terms.retention_months, terms.rejected_months]
    assert [(k.rule, k.source) for k in document.retention[:2]] == [(f"{f.value} months", f.source) for f in figures]
    assert document.controller.name == node.policy.controller.name


def test_what_is_portable_is_what_the_person_provided(http: httpx.Client) -> None:
    """Their own events and what was observed of what they did; no machine's, no recruiter's note."""
    who = somebody()
    record(
        http,
        did("sourced", who, source="linkedin", first_name=f"{OTHER} found"),
        did("tagged", who, tag=f"{OTHER} noted"),
        did("profile_corrected", who, first_name=f"{MARK} said", actor="candidate:self"),
        did("replied", who, text=f"{MARK} wrote"),
        did("opened", who, message=f"{OTHER} machine", machine=True),
        did("clicked", who, message=f"{MARK} human", machine=False),
    )
    files = exported(http, who)
    portable = json.loads(files["portable.json"])
    assert OTHER not in json.dumps(portable)
    assert [event["type"] for event in portable["events"]] == ["profile_corrected", "replied", "clicked"]
    assert portable["profile"] == {"first_name": f"{MARK} said"}
    assert "Art. 20(1)" in portable["explanation"]
    assert OTHER in files["person.json"].decode()


def test_the_request_that_it_answers_is_named_and_stays_open(http: httpx.Client) -> None:
    who, other = somebody(), somebody()
    record(http, did("sourced", who, source="x"), did("sourced", other, source="x"))
    asked = http.post("/v1/compliance/requests", json={"candidate": who, "asks_for": "access"}).json()["request"]
    files = exported(http, who, request=asked)
    document = Person.model_validate_json(files["person.json"])
    assert document.request is not None
    assert document.request.request == asked
    assert asked in Page(files["index.html"]).text
    assert get(http, f"/v1/compliance/requests/{asked}")["state"] == "open"
    refused = http.get(f"/v1/compliance/candidates/{other}/export", params={"request": asked})
    assert (refused.status_code, "no request of this id" in refused.json()["detail"]) == (409, True)


def test_an_event_that_cannot_be_opened_is_named_and_the_rest_is_there(node: Node, http: httpx.Client) -> None:
    """Found by email and by id, though the write side refuses such a person; what waits behind it is in the lines."""
    who = somebody()
    record(http, did("sourced", who, source="x", first_name=f"{MARK} before"))
    id_ = node.recording.resolve(reference_of(who))
    name = f"candidate-{id_}"
    key = node.keyring.existing([name])[name]
    clear = {"occurred_at": "2026-03-02T00:00:00Z", "actor_kind": "user"}
    broken = sealed_by_hand(name, 2, "knighted", 1, clear, {"actor": "user:x"}, key)
    behind = sealed_by_hand(name, 3, "tagged", 1, clear, {"actor": "user:x", "tag": f"{MARK} behind"}, key)
    (broken_seq,) = node.recorder.insert_events([broken]) or ()
    node.recorder.insert_events([behind])
    for ref in (who, id_):
        files = exported(http, ref)
        document = Person.model_validate_json(files["person.json"])
        (unreadable,) = document.events.unreadable
        assert (unreadable.seq, unreadable.record, unreadable.type) == (broken_seq, id_, "knighted")
        assert "unknown candidate event" in unreadable.reason
        assert [line["type"] for line in events_in(files)] == ["sourced", "tagged"]
        assert f"{MARK} behind" in files["index.html"].decode()
        assert "could not be opened" in Page(files["index.html"]).text
        assert "could not be opened" in files["README.txt"].decode()


def test_with_a_lost_key_it_says_so_and_hands_out_what_is_left(node: Node, http: httpx.Client) -> None:
    """What the mirror opened while the key was there is held, and so is handed out; what came later is named."""
    who = somebody()
    record(http, did("sourced", who, source="x", first_name=f"{MARK} kept"))
    id_ = node.recording.resolve(reference_of(who))
    name = f"candidate-{id_}"
    key = node.keyring.existing([name])[name]
    get(http, f"/v1/candidates/{who}", min_seq=node.ledger.last_seq())
    node.keyring._bucket.destroy(name)  # type: ignore[attr-defined]
    node.keyring.forget(name)
    clear = {"occurred_at": "2026-03-02T00:00:00Z", "actor_kind": "user"}
    (later,) = node.recorder.insert_events([sealed_by_hand(name, 2, "tagged", 1, clear, {"tag": "x"}, key)]) or ()
    files = exported(http, id_)
    document = Person.model_validate_json(files["person.json"])
    assert [(u.seq, "key" in u.reason) for u in document.events.unreadable] == [(later, True)]
    assert f"{MARK} kept" in files["index.html"].decode()


def test_nobody_and_somebody_erased_get_one_sentence_each(node: Node, http: httpx.Client) -> None:
    unknown = http.get(f"/v1/compliance/candidates/{somebody()}/export")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:rapport:problem:unresolved-candidate")
    who = somebody()
    record(http, did("sourced", who, source="x"))
    id_ = node.recording.resolve(reference_of(who))
    erased = c.Erased(
        occurred_at=datetime.fromisoformat("2026-03-02T00:00:00Z"),
        actor="user:x",
        erasure=uuid4().hex,
        ground=ErasureGround.OBJECTION,
    )
    node.ledger.append([Append(f"candidate-{id_}", 1, [erased])])
    for ref in (who, id_):
        answer = http.get(f"/v1/compliance/candidates/{ref}/export")
        assert (answer.status_code, answer.json()["type"]) == (410, "urn:rapport:problem:erased"), answer.text


def test_a_full_disk_is_said_and_nothing_is_left(
    node: Node, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = somebody()
    record(http, did("sourced", who, source="x"))

    def full(dir: Path) -> Any:
        return dir.joinpath("/dev/full").open("w+b")

    with monkeypatch.context() as patch:
        patch.setattr("api.disclosure.archive.TemporaryFile", full)
        answer = http.get(f"/v1/compliance/candidates/{who}/export", params={"min_seq": node.ledger.last_seq()})
    assert (answer.status_code, "No space left" in answer.json()["detail"]) == (507, True)
    assert exported(http, who)


def test_the_schema_in_the_documentation_is_that_of_the_code() -> None:
    """`python -m api.disclosure.document > docs/person-export.schema.json` makes it anew."""
    path = Path(__file__).parents[2] / "docs" / "person-export.schema.json"
    assert path.read_bytes() == schema()
