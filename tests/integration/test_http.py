"""The HTTP API of a running node: what goes in, what comes out, and how it says no."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pyarrow as pa
import pytest

from api.cli.client import bind, client_of, served
from api.http.rights import RIGHTS
from api.http.roles import Role, Tokens
from api.node import Node
from infra.logging import configure
from infra.settings import Settings
from tests.views import with_empty_views

DAY = "2026-03-01T09:30:00Z"
SELF = "candidate:self"


@contextmanager
def running(folder: Path) -> Iterator[tuple[Node, httpx.Client]]:
    configure("error")
    with (
        Node(Settings(data=with_empty_views(folder), port=0)) as node,
        served(node) as url,
        client_of(url, node.settings) as client,
    ):
        yield node, client


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(tmp_path_factory.mktemp("node")) as (_, client):
        yield client


def somebody() -> str:
    return f"{uuid4().hex[:12]}@example.com"


def did(type_: str, who: Any, at: str = DAY, **fields: Any) -> dict[str, Any]:
    envelope = {k: fields.pop(k) for k in ("id", "actor", "source", "channel") if k in fields}
    return {
        "id": uuid4().hex,
        "type": type_,
        "candidate": {"email": who} if isinstance(who, str) else who,
        "occurred_at": at,
        "data": fields,
    } | envelope


def post(http: httpx.Client, body: Any, **params: Any) -> httpx.Response:
    return http.post("/v1/interactions", json=body, params=params)


def record(http: httpx.Client, *documents: dict[str, Any], history: bool = True) -> int:
    """Records all of them; the last ledger position."""
    answer = post(http, list(documents), history=history).json()
    assert answer["accepted"] == len(documents), answer
    last: int = answer["last_seq"]
    return last


def get(http: httpx.Client, path: str, **params: Any) -> Any:
    answer = http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def is_problem(answer: httpx.Response, status: int, code: str) -> str:
    """The sentence of a problem document (RFC 9457) of this status and code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["type"] == f"urn:rapport:problem:{code}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    detail: str = document["detail"]
    assert "\n" not in detail
    return detail


def until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


# ── interactions in ────────────────────────────────────────────────────────────────────────────────


def sql_of(http: httpx.Client, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = http.post("/v1/sql", json={"query": query}).raise_for_status().json()
    return rows


def test_a_request_is_tied_to_its_event_its_row_and_its_message_on_the_feed(http: httpx.Client) -> None:
    trace, own = uuid4().hex, uuid4().hex
    traced = {"traceparent": f"00-{trace}-{uuid4().hex[:16]}-01"}
    who = somebody()
    answers = [
        http.post("/v1/interactions", json=did("sourced", who), headers=traced),
        http.post("/v1/interactions", json=did("tagged", who, tag="x"), headers={"X-Request-Id": own}),
        http.post("/v1/interactions", json=did("tagged", who, tag="y"), headers={"X-Request-Id": "no id"}),
    ]
    wanted = [answer.headers["X-Request-Id"] for answer in answers]
    assert wanted[:2] == [trace, own]
    assert len(set(wanted)) == 3
    seqs = [answer.json()["seq"] for answer in answers]
    query = "select seq, correlation from events where correlation is not null order by seq"
    until(lambda: [r["correlation"] for r in sql_of(http, query) if r["seq"] in seqs] == wanted)

    def told() -> list[str]:
        events = get(http, "/v1/feed/events", limit=1000)["events"]
        return [e["event"]["data"].get("correlation") for e in events if e["event"]["data"].get("seq") in seqs]

    until(lambda: told() == wanted)


def test_one_interaction_is_201_and_the_same_again_200(http: httpx.Client) -> None:
    sent = did("sourced", somebody())
    first = post(http, sent)
    assert first.status_code == 201
    assert first.json()["status"] == "accepted"
    assert first.json()["version"] == 1
    again = post(http, sent)
    assert again.status_code == 200
    assert again.json() == {"status": "duplicate", "candidate": first.json()["candidate"]}


@pytest.mark.parametrize("form", ["array", "ndjson"])
def test_many_interactions_are_answered_one_by_one_in_order(http: httpx.Client, form: str) -> None:
    who = somebody()
    known = did("sourced", who)
    first = post(http, known).json()
    documents = [did("tagged", who, tag="go"), known, did("nonsense", who), did("tagged", who, tag="rust")]
    if form == "array":
        answer = post(http, documents)
    else:
        lines = [json.dumps(d) for d in documents]
        lines[2:2] = ["", "{not json", "   "]
        content = "\r\n".join(lines)
        answer = http.post("/v1/interactions", content=content, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 200
    body = answer.json()
    expected = ["accepted", "duplicate", *["rejected"] * (1 if form == "array" else 2), "accepted"]
    assert [r["status"] for r in body["results"]] == expected
    counts = {"accepted": 2, "duplicates": 1, "rejected": 1 if form == "array" else 2}
    assert {k: body[k] for k in counts} == counts
    assert body["last_seq"] == max(r["seq"] for r in body["results"] if r["status"] == "accepted")
    assert {r["candidate_id"] for r in body["results"] if "candidate_id" in r} == {first["candidate"]}
    assert all(r["code"] and r["reason"] for r in body["results"] if r["status"] == "rejected")


def test_ndjson_of_more_lines_than_one_chunk_keeps_its_order(http: httpx.Client) -> None:
    who = somebody()
    lines = [did("sourced", who), *(did("tagged", who, tag=str(n)) for n in range(1_100))]
    answer = http.post(
        "/v1/interactions",
        content="\n".join(map(json.dumps, lines)),
        headers={"Content-Type": "application/x-ndjson; charset=utf-8"},
    ).json()
    assert [r["version"] for r in answer["results"]] == list(range(1, 1_102))


def test_a_line_of_two_megabytes_is_refused_and_its_neighbours_are_taken(http: httpx.Client) -> None:
    who = somebody()
    lines = [did("sourced", who), did("replied", who, text="x" * 2_000_000), did("replied", who, text="short")]
    answer = http.post(
        "/v1/interactions",
        content="\n".join(map(json.dumps, lines)),
        headers={"Content-Type": "application/x-ndjson"},
    ).json()
    assert [r["status"] for r in answer["results"]] == ["accepted", "rejected", "accepted"]
    assert answer["results"][1]["code"] == "too-large"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"type": "winked"}, "unknown type 'winked'"),
        ({"type": None}, "type"),
        ({"occurred_at": None}, "occurred_at"),
        ({"occurred_at": "2026-03-01T09:30:00"}, "time zone"),
        ({"occurred_at": "2026-03-01"}, "occurred_at"),
        ({"occurred_at": 1_770_000_000}, "zone"),
        ({"occurred_at": "1770000000"}, "occurred_at"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at"),
        ({"occurred_at": "9999-12-31T23:59:59-14:00"}, "occurred_at"),
        ({"candidate": {}}, "candidate"),
        ({"candidate": {"email": "nobody"}}, "candidate.email"),
        ({"candidate": {"phone": "020 7946 0000"}}, "candidate.phone"),
        ({"candidate": {"profile": "ada"}}, "candidate.profile"),
        ({"candidate": {"ref": "ada"}}, "candidate.ref"),
        ({"candidate": {"id": "ada"}}, "candidate.id"),
        ({"candidate": {"name": "Ada"}}, "name"),
        ({"candidate": "ada@example.com"}, "candidate"),
        ({"colour": "red"}, "colour"),
        ({"data": {"colour": "red"}}, "colour"),
        ({"data": {"actor": "me"}}, "actor"),
        ({"data": ["a"]}, "data"),
        ({"channel": "pigeon"}, "channel"),
        ({"source": "ada@example.com"}, "source"),
        ({"actor": ""}, "actor"),
        ({"type": "tagged", "data": {}}, "tag"),
        ({"type": "bounced", "data": {"kind": "bouncy"}}, "kind"),
    ],
)
def test_what_is_wrong_with_an_interaction_is_said_by_field_and_without_its_value(
    http: httpx.Client, change: dict[str, Any], says: str
) -> None:
    document = did("sourced", somebody(), source="crm") | change
    answer = post(http, {k: v for k, v in document.items() if v is not None})
    detail = is_problem(answer, 422, "invalid-interaction")
    assert says in detail
    assert "ada@example.com" not in detail
    assert "validation error" not in detail


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe{}", b'{"type":"\\ud800"}', b"NaN"])
def test_what_is_not_json_is_400(http: httpx.Client, body: bytes) -> None:
    is_problem(http.post("/v1/interactions", content=body), 400, "invalid-json")


@pytest.mark.parametrize("body", [b"1", b'"text"', b"null", b"true"])
def test_json_that_is_no_object_is_422(http: httpx.Client, body: bytes) -> None:
    is_problem(http.post("/v1/interactions", content=body), 422, "invalid-interaction")


def test_each_refusal_has_its_status_and_code(http: httpx.Client) -> None:
    who, other = somebody(), somebody()
    record(http, did("sourced", who), did("sourced", other))
    ahead = (datetime.now(UTC) + timedelta(hours=25)).isoformat()
    is_problem(post(http, did("tagged", somebody(), tag="go")), 404, "unresolved-candidate")
    is_problem(post(http, did("tagged", {"id": uuid4().hex}, tag="go")), 404, "unresolved-candidate")
    is_problem(post(http, did("emailed", who)), 409, "not-contactable")
    is_problem(post(http, did("merged", who, into={"email": who})), 409, "merge-refused")
    is_problem(post(http, did("unmerged", who)), 409, "merge-refused")
    is_problem(post(http, did("opted_in", who, actor="user:x")), 422, "opt-in-without-evidence")
    is_problem(post(http, did("sourced", who, at=ahead)), 422, "occurred-in-future")
    ref = f"ats:{uuid4().hex}"
    record(http, did("sourced", {"ref": ref}))
    is_problem(post(http, did("tagged", {"email": who, "ref": ref}, tag="go")), 409, "ambiguous-candidate")


def test_with_history_contacts_are_facts(http: httpx.Client) -> None:
    who = somebody()
    record(http, did("sourced", who))
    is_problem(post(http, did("emailed", who)), 409, "not-contactable")
    assert post(http, did("emailed", who), history=True).status_code == 201


def test_odd_characters_and_odd_times_reach_the_views(http: httpx.Client) -> None:
    """Control characters, emoji and right-to-left text, the first and the last year: nothing stops the projector."""
    who = somebody()
    seq = record(
        http,
        did("sourced", who, first_name="a\u200bb", last_name="😀\u202eמשה'\"\\", at="0002-01-01T00:00:00Z"),
        did("tagged", who, tag="x\u2028y"),
        did("replied", who, text="\u0001\u001f\u2028", at="1969-12-31T23:59:59.999999Z"),
        did("consent_given", who, expires_at="9999-12-30T00:00:00Z", actor=SELF),
    )
    until(lambda: get(http, "/v1/status")["views"]["checkpoint"] >= seq)
    assert get(http, "/v1/status")["views"]["dead_letters"] == 0
    assert get(http, f"/v1/candidates/{who}", min_seq=seq)["last_name"] == "😀\u202eמשה'\"\\"
    assert get(http, f"/v1/engagement/{who}", min_seq=seq)
    assert get(http, f"/v1/compliance/candidates/{who}/trail", min_seq=seq)["events"]


# ── candidates by any reference ────────────────────────────────────────────────────────────────────


def test_a_candidate_answers_in_the_path_to_every_kind_of_reference(http: httpx.Client) -> None:
    tail = uuid4().hex[:10]
    phone = f"+4420{uuid4().int % 10**8:08}"
    who = {
        "email": f"ada.{tail}@example.com",
        "phone": phone,
        "profile": f"https://www.linkedin.com/in/{tail}",
        "ref": f"greenhouse:{tail}/7",
    }
    seq = record(http, did("sourced", who, first_name="Ada"))
    id_ = get(http, f"/v1/candidates/{quote(who['email'])}", min_seq=seq)["canonical_id"]
    references = [id_, f"id:{id_}", *who.values(), f"linkedin.com/in/{tail}", *(f"{k}:{v}" for k, v in who.items())]
    for reference in references:
        path = quote(reference, safe="")
        routes = [f"/v1/compliance/candidates/{path}/contactability?channel=email"]
        if "/" in reference:
            routes += [f"/v1/candidates/{path}", f"/v1/candidates/{path}/timeline", f"/v1/engagement/{path}"]
            routes += [f"/v1/compliance/candidates/{path}/trail"]
        for route in routes:
            answer = http.get(route)
            assert answer.status_code == 200, (route, answer.text)
            assert id_ in answer.text


def test_a_reference_that_nobody_answers_to_is_404_and_one_that_is_none_is_422(http: httpx.Client) -> None:
    for part in ("candidates/{}", "candidates/{}/timeline", "engagement/{}", "compliance/candidates/{}/trail"):
        is_problem(http.get("/v1/" + part.format(somebody())), 404, "unresolved-candidate")
        is_problem(http.get("/v1/" + part.format("nonsense")), 422, "invalid-interaction")
        is_problem(http.get("/v1/" + part.format("ada@")), 422, "invalid-interaction")


def test_merge_and_unmerge_over_http(http: httpx.Client) -> None:
    who, other = somebody(), somebody()
    record(http, did("sourced", who, first_name="Ada"), did("sourced", other, last_name="Lovelace"))
    merged = http.post(f"/v1/candidates/{other}/merge", json={"into": who, "actor": "user:me"})
    assert merged.status_code == 201
    one = get(http, f"/v1/candidates/{other}", min_seq=merged.json()["seq"])
    assert (one["first_name"], one["last_name"], len(one["records"])) == ("Ada", "Lovelace", 2)
    is_problem(http.post(f"/v1/candidates/{other}/merge", json={"into": who}), 409, "merge-refused")
    undone = http.post(f"/v1/candidates/{other}/unmerge", json={})
    assert undone.status_code == 201
    assert len(get(http, f"/v1/candidates/{other}", min_seq=undone.json()["seq"])["records"]) == 1
    is_problem(http.post(f"/v1/candidates/{other}/unmerge", json={}), 409, "merge-refused")
    is_problem(http.post(f"/v1/candidates/{other}/merge", json={}), 422, "invalid-request")
    is_problem(http.post(f"/v1/candidates/{other}/merge", json={"into": somebody()}), 404, "unresolved-candidate")
    is_problem(http.post(f"/v1/candidates/{other}/merge", json={"into": who, "why": "?"}), 422, "invalid-request")
    naive = {"into": who, "occurred_at": "2026-03-01T00:00:00"}
    assert http.post(f"/v1/candidates/{other}/merge", json=naive).status_code == 422


# ── time ───────────────────────────────────────────────────────────────────────────────────────────


def test_min_seq_waits_until_the_views_hold_the_event(http: httpx.Client) -> None:
    for _ in range(5):
        who = somebody()
        seq = post(http, did("sourced", who, first_name="Ada")).json()["seq"]
        assert get(http, f"/v1/candidates/{who}", min_seq=seq)["first_name"] == "Ada"


def test_min_seq_beyond_the_ledger_is_503_with_retry_after(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.node.VIEWS_WAIT_S", 0.2)
    monkeypatch.setattr(Node.wait_for, "__defaults__", (0.2,))
    answer = http.get("/v1/pools", params={"min_seq": 10**9})
    is_problem(answer, 503, "views-behind")
    assert int(answer.headers["retry-after"]) >= 1
    is_problem(http.get("/v1/pools", params={"min_seq": "soon"}), 422, "invalid-request")


def test_pool_members_as_of_any_moment(http: httpx.Client) -> None:
    name, tag = f"Pool {uuid4().hex}", uuid4().hex
    who = somebody()
    made = http.post(
        "/v1/pools", json={"name": name, "rule": {"all": [{"tag": tag}]}, "occurred_at": "2026-01-01T00:00:00Z"}
    )
    assert made.status_code == 201, made.text
    seq = record(
        http,
        did("sourced", who, at="2026-02-01T00:00:00Z"),
        did("tagged", who, tag=tag, at="2026-03-01T00:00:00Z"),
        did("untagged", who, tag=tag, at="2026-04-01T00:00:00Z"),
    )

    def count(as_of: str) -> int:
        size: int = get(http, f"/v1/pools/{quote(name.upper())}/members", as_of=as_of, min_seq=seq)["count"]
        return size

    assert [count(f"2026-0{m}-15T00:00:00Z") for m in (1, 2, 3, 4)] == [0, 0, 1, 0]
    assert count("2026-03-15T01:00:00+01:00") == 1
    is_problem(http.get("/v1/pools/nobodys/members"), 404, "unknown-pool")
    is_problem(http.post("/v1/pools", json={"name": name.lower()}), 409, "pool-refused")
    is_problem(http.get(f"/v1/pools/{name}/members", params={"as_of": "2026-03-15T00:00:00"}), 422, "invalid-request")


def test_pinned_and_excluded_by_hand_over_http(http: httpx.Client) -> None:
    name, who = f"Pool {uuid4().hex}", somebody()
    record(http, did("sourced", who))
    http.post("/v1/pools", json={"name": name}).raise_for_status()
    sizes = []
    for place in ("pinned", "excluded", "unpinned"):
        answer = http.put(f"/v1/pools/{name}/candidates/{who}", json={"place": place})
        assert answer.status_code == 200, answer.text
        sizes.append(get(http, f"/v1/pools/{name}/members", min_seq=answer.json()["seq"])["count"])
    assert sizes == [1, 0, 0]
    assert http.post(f"/v1/pools/{name}/archive", json={}).json()["status"] == "accepted"
    assert http.post(f"/v1/pools/{name}/archive", json={}).json()["status"] == "unchanged"
    is_problem(http.put(f"/v1/pools/{name}/rule", json={"rule": {}}), 409, "pool-refused")


def test_engagement_as_of_any_moment_with_its_explanation(http: httpx.Client) -> None:
    who = somebody()
    seq = record(
        http,
        did("sourced", who, at="2026-01-01T00:00:00Z"),
        did("replied", who, at="2026-02-01T00:00:00Z", actor=SELF),
        did("replied", who, at="2026-03-01T00:00:00Z", actor=SELF),
    )
    scores = [
        get(http, f"/v1/engagement/{who}", as_of=f"2026-{m}T00:00:00Z", min_seq=seq)["score"]
        for m in ("01-15", "02-15", "03-15", "09-15")
    ]
    assert scores[0] == 0
    assert 0 < scores[1] < scores[2]
    assert 0 < scores[3] < scores[2]
    explained = get(http, f"/v1/engagement/{who}", as_of="2026-02-15T00:00:00Z", explain=True)
    assert [e["type"] for e in explained["events"]] == ["replied"]
    assert who not in json.dumps(get(http, "/v1/engagement", limit=5))


# ── the trail ──────────────────────────────────────────────────────────────────────────────────────


def test_each_event_of_the_trail_says_what_when_who_and_the_state_it_led_to(http: httpx.Client) -> None:
    who = somebody()
    seq = record(
        http,
        did("sourced", who, at="2026-01-01T00:00:00Z", actor="user:me", source="crm", first_name="Ada"),
        did("basis_recorded", who, at="2026-01-02T00:00:00Z", basis="legitimate_interest", lia="L-1"),
        did("tagged", who, at="2026-01-03T00:00:00Z", tag="go"),
        did("opted_out", who, at="2026-01-04T00:00:00Z", actor=SELF, channel="email", method="link"),
    )
    found = get(http, f"/v1/compliance/candidates/{who}/trail", min_seq=seq)
    assert [e["type"] for e in found["events"]] == ["sourced", "basis_recorded", "opted_out"]
    for event in found["events"]:
        assert isinstance(event["seq"], int)
        happened, taken = (datetime.fromisoformat(event[k]) for k in ("occurred_at", "recorded_at"))
        assert happened.tzinfo is not None
        assert taken.tzinfo is not None
        assert happened < taken
        assert event["actor"]
        assert {"channel", "purpose", "contactable", "status", "because_seq"} == set(event["state"][0])
    opted_out = found["events"][-1]
    assert opted_out["actor"] == SELF
    assert opted_out["data"] == {"method": "link", "right": "art_21"}
    cells = {s["channel"]: s for s in opted_out["state"]}
    assert (cells["email"]["status"], cells["email"]["because_seq"]) == ("opted_out", opted_out["seq"])
    assert cells["*"]["contactable"] is True
    assert found["standing"] == opted_out["state"]
    early = get(http, f"/v1/compliance/candidates/{who}/trail", as_of="2026-01-03T12:00:00Z")
    assert [e["type"] for e in early["events"]] == ["sourced", "basis_recorded"]
    assert all(s["contactable"] for s in early["standing"])
    answer = get(http, f"/v1/compliance/candidates/{who}/contactability", channel="email")
    assert (answer["contactable"], answer["because_seq"]) == (False, opted_out["seq"])


def test_known_at_gives_the_answer_that_was_given_then(http: httpx.Client) -> None:
    """After late facts, an opt-out, a merge with an opted-out record and its undoing."""
    who, other = somebody(), somebody()
    as_of = "2026-06-01T00:00:00Z"

    def trail(known_at: str | None = None) -> dict[str, Any]:
        more = {"known_at": known_at} if known_at else {}
        found: dict[str, Any] = get(http, f"/v1/compliance/candidates/{who}/trail", as_of=as_of, **more)
        return {k: v for k, v in found.items() if k != "known_at"}

    steps = [
        [did("sourced", who), did("basis_recorded", who, basis="legitimate_interest")],
        [did("sourced", other), did("opted_out", other, at="2026-02-01T00:00:00Z", actor=SELF)],
        [did("merged", other, into={"email": who}, at="2026-04-01T00:00:00Z")],
        [did("notice_given", who, article="14", at="2026-01-01T00:00:00Z")],
        [did("unmerged", other, at="2026-05-01T00:00:00Z")],
        [did("merged", who, into={"email": other}, at="2026-05-02T00:00:00Z")],
    ]
    given = []
    for step in steps:
        record(http, *step)
        answer = trail()
        moment = max((e["recorded_at"] for e in answer["events"]), default="")
        given.append((max(moment, datetime.now(UTC).isoformat()), answer))
    assert len({json.dumps(answer) for _, answer in given}) >= 5, "the steps change the answer"
    assert [len(answer["records"]) for _, answer in given] == [1, 1, 2, 2, 1, 2]
    for moment, answer in given:
        assert trail(moment) == answer, moment
    last = given[-1][1]["events"][-1]["recorded_at"]
    assert last in [e["recorded_at"] for e in trail(last)["events"]], "known at its own moment, an event is known"


# ── SQL ────────────────────────────────────────────────────────────────────────────────────────────


def test_sql_answers_a_select_as_json_or_arrow(http: httpx.Client) -> None:
    seq = record(http, did("sourced", somebody()))
    query = {"query": "select count(*) as n, max(recorded_at) as t, from_hex('ff') as b from events"}
    answer = http.post("/v1/sql", json=query, params={"min_seq": seq})
    assert answer.json()[0]["n"] == seq
    assert datetime.fromisoformat(answer.json()[0]["t"]).tzinfo is not None
    assert answer.json()[0]["b"] == "ff"
    arrow = http.post("/v1/sql", json=query, headers={"Accept": "application/vnd.apache.arrow.stream"})
    assert pa.ipc.open_stream(arrow.content).read_all()["n"].to_pylist() == [seq]
    assert http.post("/v1/sql", json={"query": "with x as (select 1 as a) from x"}).json() == [{"a": 1}]
    assert http.post("/v1/sql", json={"query": "select 1 where false"}).json() == []


NO_SELECTS = [
    "delete from events",
    "drop table identity",
    "insert into ops.checkpoint values (1, 1)",
    "create table x (a int)",
    "update ops.checkpoint set seq = 0",
    "truncate events",
    "attach 'x.duckdb' as x",
    "copy events to 'x.csv'",
    "export database 'x'",
    "set memory_limit = '1KB'",
    "set enable_external_access = true",
    "pragma database_list",
    "install httpfs",
    "load httpfs",
    "checkpoint",
    "begin",
    "vacuum",
    "call pragma_version()",
    "prepare q as delete from events",
    "explain analyze delete from events",
    "with d as (delete from events returning seq) select * from d",
    "with d as (insert into ops.checkpoint values (1, 1) returning seq) select * from d",
    "with d as (update ops.checkpoint set seq = 0 returning seq) select * from d",
    "select 1; select 2",
    "select 1; delete from events",
    "",
    ";",
    "-- nothing",
    "selec 1",
    "select nothing from nowhere",
    "select * from read_csv('/etc/passwd')",
    "select * from '/etc/passwd'",
    "select * from read_text('/etc/passwd')",
    "select content from read_blob('/etc/passwd')",
    "select * from glob('/*')",
    "select * from sniff_csv('/etc/passwd')",
    "select * from parquet_scan('/etc/passwd')",
    "select * from read_parquet('http://127.0.0.1:1/x')",
    "select * from query('delete from events')",
    "select error('no')",
]


def test_sql_refuses_what_is_not_one_select_over_the_views(http: httpx.Client) -> None:
    seq = record(http, did("sourced", somebody()))
    before = get(http, "/v1/status", min_seq=seq)["views"]
    answers = {query: http.post("/v1/sql", json={"query": query}) for query in NO_SELECTS}
    assert [query for query, answer in answers.items() if answer.status_code != 400] == []
    for answer in answers.values():
        is_problem(answer, 400, "query-refused")
    after = get(http, "/v1/status")["views"]
    assert (after["rows"], after["views"]) == (before["rows"], before["views"])
    assert after["checkpoint"] >= before["checkpoint"]


def test_sql_reads_no_environment_and_no_secrets(http: httpx.Client) -> None:
    is_problem(http.post("/v1/sql", json={"query": "select getenv('HOME')"}), 400, "query-refused")
    answer = http.post("/v1/sql", json={"query": "select * from duckdb_secrets()"})
    assert answer.status_code == 400 or answer.json() == []


def test_sql_that_is_stopped_or_fails_leaves_the_next_one_unharmed(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    rights = RIGHTS[Role.ADMIN]
    endless = "select count(*) from range(10000000) a, range(10000000) b where a.range * b.range % 7 = 3"
    monkeypatch.setitem(RIGHTS, Role.ADMIN, replace(rights, max_seconds=0.3))
    assert "longer" in is_problem(http.post("/v1/sql", json={"query": endless}), 422, "query-too-long")
    monkeypatch.setitem(RIGHTS, Role.ADMIN, replace(rights, max_rows=1_000))
    many = http.post("/v1/sql", json={"query": "from range(1001)"})
    assert "rows" in is_problem(many, 422, "answer-too-large")
    assert len(http.post("/v1/sql", json={"query": "from range(1000)"}).json()) == 1_000
    is_problem(http.post("/v1/sql", json={"sql": "select 1"}), 422, "invalid-request")
    is_problem(http.post("/v1/sql", json={"query": "select 1", "more": 1}), 422, "invalid-request")


# ── the node ───────────────────────────────────────────────────────────────────────────────────────


def test_the_openapi_document_is_valid_json_and_every_route_has_a_summary_of_its_own(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operations = [o for path in document["paths"].values() for o in path.values()]
    assert len({o["summary"] for o in operations}) == len(operations) >= 15
    assert all(" " in o["summary"] for o in operations), "a sentence, not the function's name"
    ids = [o["operationId"] for o in operations]
    assert len(set(ids)) == len(ids)
    assert {"/v1/interactions", "/v1/candidates/{ref}", "/healthz", "/readyz"} <= set(document["paths"])
    assert http.get("/docs").status_code == 404, "a page with a script of somebody else's host"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/candidates", "/admin", "/v2/status"])
def test_an_unknown_route_is_a_404_problem(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_answers_are_sent_at_once() -> None:
    """Without TCP_NODELAY, which asyncio sets by itself only on sockets made with their protocol, the second half of
    each answer waits some 40 ms for the client's acknowledgement of the first."""
    with closing(bind(Settings(port=0))) as listener:
        held_back = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        assert not held_back or listener.proto == socket.IPPROTO_TCP


def test_a_wrong_method_is_a_405_problem_that_names_the_right_one(http: httpx.Client) -> None:
    answer = http.get("/v1/interactions")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""])
def test_a_foreign_host_name_is_refused(http: httpx.Client, host: str) -> None:
    assert http.get("/healthz", headers={"Host": host}).status_code == 400
    refused = http.post("/v1/interactions", json=did("sourced", somebody()), headers={"Host": host})
    assert refused.status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:1234", "[::1]", "[::1]:8642"])
def test_the_names_of_this_machine_are_taken(http: httpx.Client, host: str) -> None:
    assert http.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_node_is_ready_tells_so_and_rebuilds_its_views_on_request(http: httpx.Client) -> None:
    assert get(http, "/readyz") == {"status": "ready", "reasons": []}
    assert get(http, "/healthz")["status"] == "ok"
    seq = record(http, did("sourced", somebody()))
    before = get(http, "/v1/status", min_seq=seq)["views"]["rows"]
    for params in ({}, {"view": "profile"}):
        *_, last = http.post("/v1/views/rebuild", params=params).text.splitlines()
        assert "profile" in json.loads(last)["rebuilt"]
        assert get(http, "/v1/status")["views"]["rows"] == before
    is_problem(http.post("/v1/views/rebuild", params={"view": "nothing"}), 404, "unknown-view")
    is_problem(http.post("/v1/views/rebuild", params={"view": "mirror"}), 404, "unknown-view")


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks up the server's pid file of this machine")
def test_without_nats_the_node_lives_is_not_ready_and_refuses_writes_politely(tmp_path: Path) -> None:
    """Its own nats-server is killed with kill -9: writes are 503, and reads, for they cannot be recorded; nothing
    accepted is lost.
    """
    with running(tmp_path / "node") as (node, http):
        seq = record(http, did("sourced", "ada@example.com", first_name="Ada"))
        get(http, "/v1/candidates/ada@example.com", min_seq=seq)
        node.connection.request_timeout_s = 1.0
        os.kill(int((tmp_path / "node/nats/nats-server.pid").read_text()), signal.SIGKILL)
        node.recorder._appender._ack_timeout_s = 1.0
        until(lambda: http.get("/readyz").status_code == 503)
        assert http.get("/readyz").json()["reasons"] == ["no connection to NATS"]
        assert http.get("/healthz").status_code == 200
        token = Tokens.of(node.settings.tokens_file)[Role.COMPLIANCE]
        headers = {"Authorization": f"Bearer {token}"}
        rows = http.post("/v1/sql", json={"query": "select first_name from pii.profile"}, headers=headers)
        is_problem(rows, 503, "access-log-unavailable")
        refused = post(http, did("tagged", "ada@example.com", tag="go"))
        is_problem(refused, 503, "ledger-unavailable")
        assert refused.headers["retry-after"]
        is_problem(http.get("/v1/status"), 503, "ledger-unavailable")
    with running(tmp_path / "node") as (node, http):
        assert node.ledger.last_seq() >= seq
        assert get(http, "/v1/candidates/ada@example.com", min_seq=seq)["first_name"] == "Ada"
