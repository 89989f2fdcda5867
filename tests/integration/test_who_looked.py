"""Who looked: every route says what it reads, and no answer leaves a node without a record of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import SecretStr

from api.cli.client import client_of, served
from api.http import problems
from api.http.app import create_app
from api.http.reads import NOTHING_BECAUSE, READS, RecordedReads, reads
from api.http.roles import Role, Tokens
from api.node import Node
from api.references import reference_of
from domain.access import Access, Read
from infra.access_log import AccessLog
from infra.settings import Settings
from tests.damage import blocks
from tests.e2e.test_personal_data import leaks
from tests.integration.test_http import did, is_problem, record, running, somebody, until

Running = tuple[Node, httpx.Client]
LOG = "/v1/access-log"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("looked") / "data") as found:
        yield found


def token(node: Node, role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {Tokens.of(node.settings.tokens_file)[role]}"}


def entries(here: Running, **asked: Any) -> list[dict[str, Any]]:
    node, http = here
    answer = http.get(LOG, params=asked, headers=token(node, Role.COMPLIANCE))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["records"]
    return found


def of(here: Running, answer: httpx.Response) -> dict[str, Any]:
    """The one record that bears the answer's id."""
    (found,) = [e for e in entries(here) if e["request"] == answer.headers["rapport-request"]]
    return found


def known(here: Running, *more: dict[str, Any], who: str | None = None, **fields: Any) -> tuple[str, str]:
    """Somebody the views hold: address and id."""
    node, http = here
    who = who or somebody()
    seq = record(http, did("sourced", who, first_name="Ada", **fields), *more)
    node.wait_for(seq)
    return who, node.recording.resolve(reference_of(who))


# ── every route says what it reads ──


def undeclared(app: FastAPI) -> list[str]:
    """Routes that do not say what they read; of those that are none of ours, all but the API's own description."""
    found = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, APIRoute):
            found += [] if getattr(route, "path", "") == "/openapi.json" else [repr(route)]
        elif READS not in (extra := route.openapi_extra or {}) or (extra[READS] is None and not extra[NOTHING_BECAUSE]):
            found.append(f"{route.methods} {route.path_format}")
    return found


def test_every_route_of_the_application_says_what_it_reads(here: Running) -> None:
    assert undeclared(create_app(here[0])) == []


def test_a_route_that_says_nothing_is_found_and_recorded_as_undeclared(here: Running) -> None:
    node, _ = here
    app = create_app(node)

    @app.get("/v1/forgotten")
    def forgotten() -> str:
        return "personal"

    assert undeclared(app) == ["{'GET'} /v1/forgotten"]
    answer = asked(app, "/v1/forgotten")
    assert of(here, answer)["what"] == "undeclared"


def asked(app: FastAPI, path: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_what_a_route_reads_is_in_the_description_of_the_api(here: Running) -> None:
    paths = here[1].get("/openapi.json").json()["paths"]
    assert paths["/v1/candidates/{ref}"]["get"][READS] == "profile"
    assert paths["/metrics"]["get"][NOTHING_BECAUSE]


# ── what is recorded ──


def test_reads_about_one_person_name_the_person_the_kind_and_the_route(here: Running) -> None:
    who, id_ = known(here)
    for path, what, route in [
        ("candidates/{}", "profile", "/v1/candidates/{ref}"),
        ("candidates/{}/timeline", "timeline", "/v1/candidates/{ref}/timeline"),
        ("engagement/{}?explain=true", "explanation", "/v1/engagement/{ref}"),
        ("compliance/candidates/{}/trail", "trail", "/v1/compliance/candidates/{ref}/trail"),
        (
            "compliance/candidates/{}/contactability?channel=email",
            "contactability",
            "/v1/compliance/candidates/{ref}/contactability",
        ),
        ("compliance/candidates/{}/evidence", "evidence", "/v1/compliance/candidates/{ref}/evidence"),
    ]:
        answer = here[1].get("/v1/" + path.format(quote(who)))
        assert answer.status_code == 200, answer.text
        found = of(here, answer)
        assert found["candidates"] == [id_]
        assert (found["what"], found["outcome"], found["route"]) == (what, "served", f"GET {route}")
        assert (found["role"], found["token"], found.get("subject")) == ("admin", "admin", None)


def test_role_and_token_are_those_that_were_presented(here: Running) -> None:
    node, http = here
    who, _ = known(here)
    for role in Role:
        found = of(here, http.get(f"/v1/candidates/{who}", headers=token(node, role)))
        assert (found["role"], found["token"]) == (role, role)
    nobody = of(here, http.get(f"/v1/candidates/{who}", headers={"Authorization": "Bearer x"}))
    assert (nobody["role"], nobody.get("token")) == ("unknown", None)


def test_sql_is_recorded_for_every_role_by_schemas_digest_and_length(here: Running) -> None:
    node, http = here
    for role, query, schemas, outcome, rows in [
        (Role.ANALYST, "select type from events limit 1", ["main"], "served", 1),
        (Role.ANALYST, "select 'ada@example.com'", [], "served", 1),
        (Role.ANALYST, "select email from pii.profile", ["pii"], "refused", None),
        (Role.COMPLIANCE, "select count(*) from pii.events, events", ["main", "pii"], "served", 1),
        (Role.ADMIN, 'select * from "ada@example.com".x', ["other"], "refused", None),
        (Role.RECRUITER, "drop table events", ["other"], "refused", None),
    ]:
        found = of(here, http.post("/v1/sql", json={"query": query}, headers=token(node, role)))
        assert found["role"] == role
        assert (found.get("schemas", []), found["outcome"], found.get("count")) == (schemas, outcome, rows), query
        assert found["statement"] == sha256(query.encode()).hexdigest()
        assert found["statement_chars"] == len(query)


def test_lists_name_the_persons_in_them_and_past_a_hundred_only_say_how_many(here: Running) -> None:
    _, http = here
    _, id_ = known(here)
    ranking = of(here, http.get("/v1/engagement"))
    assert id_ in ranking["candidates"]
    assert ranking["count"] == len(ranking["candidates"])
    pool = uuid4().hex
    tag = uuid4().hex
    http.post("/v1/pools", json={"name": pool, "rule": {"all": [{"tag": tag}]}}).raise_for_status()
    people = [somebody() for _ in range(101)]
    here[0].wait_for(record(http, *(d for p in people for d in (did("sourced", p), did("tagged", p, tag=tag)))))
    members = of(here, http.get(f"/v1/pools/{pool}/members"))
    assert (members["what"], members["count"], members.get("candidates")) == ("members", 101, None)


def test_refused_and_failed_reads_are_recorded_as_such(here: Running) -> None:
    node, http = here
    missing = http.get("/v1/candidates/nobody@example.com")
    assert (missing.status_code, of(here, missing)["outcome"]) == (404, "refused")
    app = create_app(node)

    @app.get("/v1/broken", openapi_extra=reads(Read.PROFILE))
    def broken() -> str:
        raise RuntimeError("a fault")

    before = len(entries(here))
    assert asked(app, "/v1/broken").status_code == 500
    last = entries(here)[before + 1]  # behind the query just before
    assert (last["route"], last["outcome"]) == ("GET /v1/broken", "failed")


def test_copies_for_analysts_are_recorded_and_counts_and_times_are_not(here: Running) -> None:
    node, http = here
    node.wait_for(node.ledger.last_seq())
    part = http.get("/v1/export/parts").json()
    day = {"day": part["parts"][0]["day"], "until": part["until"]}
    before = len(entries(here))
    for path in ("/healthz", "/readyz", "/metrics", "/v1/status", "/openapi.json", "/v1/nowhere", "/v1/export/parts"):
        assert "rapport-request" not in http.get(path).headers
    assert "rapport-request" not in http.put("/v1/status").headers
    assert len(entries(here)) == before + 1, "this query alone"
    for answer in (
        http.post("/v1/snapshots"),
        http.get("/v1/snapshot.duckdb"),
        http.get("/v1/export/events.parquet", params=day),
    ):
        assert answer.status_code == 200, answer.text
        assert of(here, answer)["what"] in ("snapshot", "parquet")


def test_reads_at_the_same_time_are_each_recorded_once(here: Running) -> None:
    node, http = here
    who, id_ = known(here)
    answers: list[httpx.Response] = []

    def ask() -> None:
        for _ in range(10):
            answers.append(http.get(f"/v1/candidates/{who}"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [e["request"] for e in entries(here, of=id_, what="profile")]
    assert sorted(found) == sorted(a.headers["rapport-request"] for a in answers)
    assert node.access_log.verify().is_clean


# ── asking the log ──


@pytest.mark.parametrize("role", [Role.ANALYST, Role.RECRUITER, Role.SERVICE])
@pytest.mark.parametrize("path", [LOG, f"{LOG}/verification"])
def test_only_compliance_and_admin_may_ask_the_log(here: Running, role: Role, path: str) -> None:
    node, http = here
    known(here)
    answer = http.get(path, headers=token(node, role))
    assert "compliance and admin" in is_problem(answer, 403, "role-refused")
    assert of(here, answer)["outcome"] == "refused"


def test_asking_the_log_is_recorded_in_it(here: Running) -> None:
    node, http = here
    _, id_ = known(here)
    answer = http.get(LOG, params={"of": id_}, headers=token(node, Role.ADMIN))
    assert answer.json() == {"records": [], "next": None}
    found = of(here, answer)
    assert (found["role"], found["what"], found["candidates"]) == ("admin", "access_log", [id_])


def test_reads_of_a_merged_record_are_found_by_any_of_the_persons_references(here: Running) -> None:
    node, http = here
    who, id_ = known(here)
    other, other_id = known(here)
    http.get(f"/v1/candidates/{other}")
    merged = http.post(f"/v1/candidates/{other}/merge", json={"into": who})
    node.wait_for(merged.json()["seq"])
    http.get(f"/v1/candidates/{who}")
    for reference in (who, other, id_, other_id):
        found = entries(here, of=reference, what="profile")
        assert {i for e in found for i in e["candidates"]} == {id_, other_id}, reference


def test_after_an_erasure_the_log_is_as_it_was_and_the_id_still_finds_the_reads(tmp_path: Path) -> None:
    with running(tmp_path / "data") as here:
        node, http = here
        who, id_ = known(here)
        looked = of(here, http.get(f"/v1/candidates/{who}"))
        erased = http.post("/v1/compliance/erasures", json={"candidate": who, "ground": "consent_withdrawn"})
        assert erased.status_code == 200, erased.text
        certificate = f"/v1/compliance/erasures/{erased.json()['erasure']}/certificate"
        until(lambda: http.get(certificate).status_code == 200)
        assert looked in entries(here, of=id_)
        gone = http.get(LOG, params={"of": who}, headers=token(node, Role.COMPLIANCE))
        assert gone.status_code in (404, 410), "nothing tells any more whose the address was"
        assert node.access_log.verify().is_clean


def test_the_log_is_asked_by_role_kind_and_time_and_page_by_page(here: Running) -> None:
    node, http = here
    who, id_ = known(here)
    first = of(here, http.get(f"/v1/candidates/{who}", headers=token(node, Role.RECRUITER)))
    second = of(here, http.get(f"/v1/candidates/{who}/timeline"))
    mine = {"of": id_, "by": "recruiter"}
    assert entries(here, **mine) == [first]
    assert entries(here, of=id_, what="timeline") == [second]
    assert first in entries(here, since=first["occurred_at"], until=second["occurred_at"])
    assert second not in entries(here, since=first["occurred_at"], until=second["occurred_at"])
    assert entries(here, after=first["number"], of=id_)[0] == second
    page = http.get(LOG, params={"limit": 2}, headers=token(node, Role.ADMIN)).json()
    assert [e["number"] for e in page["records"]] == [1, 2]
    assert page["next"] == 2
    for wrong in ({"since": "yesterday"}, {"what": "gossip"}, {"limit": 0}, {"by": "Ada Lovelace"}):
        is_problem(http.get(LOG, params=wrong, headers=token(node, Role.ADMIN)), 422, "invalid-request")


def test_the_log_tells_whether_it_is_whole_and_what_to_note(here: Running) -> None:
    node, http = here
    admin = token(node, Role.ADMIN)
    found = http.get(f"{LOG}/verification", headers=admin).json()
    assert found["clean"]
    again = http.get(f"{LOG}/verification", params={"head": found["head"]}, headers=admin).json()
    assert again["clean"]
    assert again["records"] == found["records"] + 1
    forged = found["head"][:-4] + ("0000" if found["head"][-4:] != "0000" else "1111")
    assert not http.get(f"{LOG}/verification", params={"head": forged}, headers=admin).json()["clean"]
    is_problem(http.get(f"{LOG}/verification", params={"head": "x"}, headers=admin), 422, "invalid-request")


# ── no answer without a record ──


def test_while_the_log_cannot_be_written_no_read_is_answered(tmp_path: Path) -> None:
    """Whatever it reads, streams included; what reads nothing personal, and what writes, goes on."""
    with running(tmp_path / "data") as here:
        node, http = here
        who, _ = known(here, headline="Analytical engines")
        stream = node.access_log.stream.name
        last = node.ledger.last_seq()
        day = http.get("/v1/export/parts").json()["parts"][0]["day"]
        assert http.get(f"/v1/candidates/{who}").json()["first_name"] == "Ada"
        node.connection.call(node.connection.api(f"STREAM.DELETE.{stream}"))
        for path in (
            f"/v1/candidates/{who}",
            f"/v1/candidates/{who}/timeline",
            f"/v1/compliance/candidates/{who}/trail",
            "/v1/engagement",
            "/v1/pools",
            "/v1/snapshot.duckdb",
            f"/v1/export/events.parquet?day={day}&until={last}",
            "/v1/dead-letters",
            "/v1/candidates/nobody@example.com",
        ):
            answer = http.get(path)
            assert "access log" in is_problem(answer, 503, "access-log-unavailable"), path
            assert answer.headers["retry-after"]
            assert "Ada" not in answer.text
            assert "Analytical" not in answer.text
        for published in (http.post("/v1/snapshots"), http.post("/v1/sql", json={"query": "select 1 as one"})):
            is_problem(published, 503, "access-log-unavailable")
        assert http.get("/healthz").status_code == http.get("/v1/status").status_code == 200
        record(http, did("tagged", who, tag="still-recorded"))
        AccessLog(node.connection, node.stream)  # declares it again, empty
        assert "lost records" in is_problem(http.get(f"/v1/candidates/{who}"), 503, "access-log-unavailable")
    with running(tmp_path / "data") as (_, http):
        assert http.get(f"/v1/candidates/{who}").json()["first_name"] == "Ada"


def test_a_record_stands_before_the_first_byte_of_a_stream(here: Running) -> None:
    """Seen from the server's side: when the start of the answer is sent, the record is on disk."""
    node, _ = here
    app = create_app(node)
    told: list[tuple[str, int]] = []

    asking: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return asking.pop() if asking else await asyncio.Future()

    async def send(message: Any) -> None:
        held = await asyncio.to_thread(lambda: len(list(node.access_log.entries())))
        told.append((message["type"], held))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/v1/snapshot.duckdb",
        "raw_path": b"/v1/snapshot.duckdb",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "scheme": "http",
    }
    before = len(list(node.access_log.entries()))
    asyncio.run(app(scope, receive, send))
    assert told[0] == ("http.response.start", before + 1)
    assert told[-1] == ("http.response.body", before + 1)


def test_two_nodes_of_one_ledger_keep_one_log(here: Running, tmp_path: Path) -> None:
    node, http = here
    who, id_ = known(here)
    assert node.server is not None
    settings = Settings(
        data=tmp_path / "second",
        port=0,
        nats_url=SecretStr(node.server.url),
        nats_sync="unasserted",
        master_key=SecretStr(node.settings.master_key_file.read_text().strip()),
    )
    with Node(settings) as other, served(other) as url, client_of(url, settings) as second:
        other.wait_for(other.ledger.last_seq())
        answers = [client.get(f"/v1/candidates/{who}") for _ in range(6) for client in (http, second)]
        assert {a.status_code for a in answers} == {200}
        found = entries(here, of=id_, what="profile")
        assert [e["request"] for e in found] == [a.headers["rapport-request"] for a in answers]
        assert other.access_log.verify().is_clean


# ── nothing personal in it ──


def test_nothing_about_a_person_but_ids_without_meaning_is_on_the_logs_disk(tmp_path: Path) -> None:
    """Every way to give an identifier, in paths, queries, SQL and tokens, refused ones too."""
    mark = "Xq7zVk"
    who = f"{mark}email@example.com"
    with running(tmp_path / "data") as here:
        node, http = here
        _, id_ = known(here, who=who, last_name=mark, location=f"{mark} town")
        http.post("/v1/pools", json={"name": f"{mark} pool"}).raise_for_status()
        compliance = token(node, Role.COMPLIANCE)
        for path in (
            f"/v1/candidates/{who}",
            f"/v1/candidates/{who}?{mark}=1",
            f"/v1/candidates/{mark}@nowhere.example/timeline",
            f"/v1/compliance/candidates/{who}/trail",
            f"/v1/compliance/candidates/{who}/contactability?channel={mark}",
            f"/v1/pools/{mark} pool/members",
            f"/v1/pools/{mark}/members",
            f"/v1/engagement/{who}?explain=true",
            f"/v1/sql/catalogue?name={mark}",
            f"/v1/{mark}",
            f"{LOG}?of={who}&by={mark}",
            f"{LOG}?of={who}",
            f"{LOG}/verification?head={mark}",
        ):
            http.get(path, headers=compliance)
        http.get(f"/v1/candidates/{who}", headers={"Authorization": f"Bearer {mark}"})
        for query in (
            f"select '{who}'",
            f'from "{mark}"."{mark}"',
            f"from pii.profile where x = '{mark}'",
            mark,
        ):
            http.post("/v1/sql", json={"query": query}, headers=compliance)
        http.post("/v1/sql", json={mark: mark})
        texts = [a.model_dump_json() for a in accesses(node.access_log)]
        name = node.access_log.stream.name
    found = b"".join(path.read_bytes() for path in blocks(tmp_path / "data", name))
    assert id_.encode() in found, "what is searched is where the records are"
    assert len(texts) >= 14
    assert leaks("records", "\n".join(texts).encode()) == []
    for path in blocks(tmp_path / "data", name)[0].parents[1].rglob("*"):
        assert not path.is_file() or leaks(str(path), path.read_bytes()) == []


def accesses(log: AccessLog) -> list[Access]:
    return [entry.access for entry in log.entries()]


def test_the_middleware_stands_next_to_the_routes(here: Running) -> None:
    """What is refused before them (another host's name, another site's page) has read nothing."""
    layers = [layer.cls for layer in create_app(here[0]).user_middleware]
    assert layers[-1] is RecordedReads
    assert problems.STATUS
