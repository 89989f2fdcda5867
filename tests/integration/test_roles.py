"""Who may do what: every route in every role, without a token, and with one that is none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from api.cli.client import client_of
from api.http import role_table
from api.http.app import PARTS, create_app
from api.http.parameters import known_to
from api.http.roles import OPEN_BECAUSE, ROLES, Role, Tokens
from api.node import Node
from api.references import reference_of
from domain.candidate import BY_OFFICERS
from tests.integration.test_http import did, get, is_problem, record, running, somebody

DOCUMENT = Path(__file__).parents[2] / "docs" / "roles.md"
EVERY = list(role_table.rows())
DESCRIBING = {"/openapi.json", "/asyncapi.json"}
"""They say what could be asked, and answer nobody's question."""

FEED = "/v1/feed"
"""It never ends."""

Here = tuple[Node, dict[Role | None, httpx.Client]]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """A node, and a client in each role; under None one without a token."""
    with running(tmp_path_factory.mktemp("roles") / "data") as (node, admin):
        clients: dict[Role | None, httpx.Client] = {
            role: client_of(str(admin.base_url), node.settings, role) for role in Role
        }
        clients[None] = httpx.Client(base_url=admin.base_url, trust_env=False)
        yield node, clients
        for client in clients.values():
            client.close()


def called(client: httpx.Client, row: role_table.Row, **options: Any) -> httpx.Response:
    """The answer to a request that names nothing there is, and says nothing that could be done."""
    path = row.path
    for part in ("{ref}", "{pool}", "{id}", "{erasure_id}", "{provider}", "{path_secret}"):
        path = path.replace(part, "0" * 32)
    with client.stream(row.method, path.replace("{", "").replace("}", ""), **options) as answer:
        if row.path != FEED or not answer.is_success:
            answer.read()
    return answer


@pytest.mark.parametrize("row", EVERY, ids=lambda row: f"{row.method} {row.path}")
def test_a_route_takes_the_roles_that_it_is_for_and_refuses_all_others(here: Here, row: role_table.Row) -> None:
    """What an allowed caller then hears is the route's own affair; who is not is told before anything is looked at."""
    for role in Role:
        answer = called(here[1][role], row)
        if row.roles is None or role in row.roles:
            assert answer.status_code not in (401, 403), (role, answer.text)
        else:
            is_problem(answer, 403, "role-refused")
            assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'


@pytest.mark.parametrize("row", EVERY, ids=lambda row: f"{row.method} {row.path}")
def test_without_a_token_only_open_routes_answer(here: Here, row: role_table.Row) -> None:
    nobody = here[1][None]
    if row.roles is None:
        assert row.open_because
        assert called(nobody, row).status_code not in (401, 403) or "webhooks" in row.path
        return
    without = called(nobody, row)
    is_problem(without, 401, "no-token")
    assert without.headers["www-authenticate"] == "Bearer"
    for header in ("Bearer x", "Bearer", "Basic eDp5", "Bearer a.b.c"):
        is_problem(called(nobody, row, headers={"Authorization": header}), 401, "unknown-token")


def undeclared(app: Any) -> list[str]:
    found = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, APIRoute):
            found += [] if getattr(route, "path", "") in DESCRIBING else [repr(route)]
        elif ROLES not in (extra := route.openapi_extra or {}) or (extra[ROLES] is None and not extra[OPEN_BECAUSE]):
            found.append(f"{route.methods} {route.path_format}")
    return found


def test_every_route_says_who_may_call_it(here: Here) -> None:
    app = create_app(here[0])
    assert undeclared(app) == []

    @app.get("/v1/forgotten")
    def forgotten() -> str:
        return "personal"

    assert undeclared(app) == ["{'GET'} /v1/forgotten"]


def test_the_table_in_the_documents_is_up_to_date(here: Here) -> None:
    """`python -m api.http.role_table docs/roles.md` makes it anew. Every route of the application is in it."""
    text = DOCUMENT.read_text("utf-8")
    assert text == role_table.document(text)
    described = {
        f"{method.upper()} {path}" for path, item in create_app(here[0]).openapi()["paths"].items() for method in item
    }
    assert described == {f"{row.method} {row.path}" for row in EVERY}


def test_the_parameters_that_are_known_are_those_that_are_described(here: Here) -> None:
    """A query parameter that no route has is refused by the names of its dependencies, which FastAPI describes."""
    described = create_app(here[0]).openapi()["paths"]
    routes = [route for part in PARTS for route in part.router.routes if isinstance(route, APIRoute)]
    assert sum(bool(known_to(route)) for route in routes) > 20
    for route in routes:
        for method in route.methods & {"GET", "POST", "PUT", "DELETE"} if route.include_in_schema else ():
            given = described[route.path_format][method.lower()].get("parameters", [])
            assert known_to(route) == {p["name"] for p in given if p["in"] == "query"}, route.path_format


def test_the_description_of_the_api_says_which_routes_want_a_token(here: Here) -> None:
    document = get(here[1][None], "/openapi.json")
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["paths"]["/v1/pools"]["get"]["security"] == [{"bearer": []}]
    assert document["paths"]["/v1/pools"]["post"][ROLES] == ["recruiter", "service", "admin"]
    assert document["paths"]["/healthz"]["get"]["security"] == []


def test_an_analyst_sees_no_name_on_any_route(here: Here) -> None:
    """Marker strings in every personal field, and every route that an analyst may call with success."""
    node, clients = here
    marker = "Zebedee"
    who = somebody()
    said = {name: f"{marker} {name}" for name in ("first_name", "last_name", "headline", "employer", "location")}
    seq = record(clients[Role.ADMIN], did("sourced", who, **said), did("replied", who, text=f"{marker} text"))
    node.wait_for(seq)
    candidate = node.recording.resolve(reference_of(who))
    named = get(clients[Role.RECRUITER], "/v1/engagement", limit=1000)["candidates"]
    assert f"{marker} last_name" in [row["last_name"] for row in named]
    analyst, model = clients[Role.ANALYST], clients[Role.ANALYST].get("/v1/engagement/model").text
    ranked = get(analyst, "/v1/engagement", limit=1000)["candidates"]
    assert candidate in [row["canonical_id"] for row in ranked]
    what_if = analyst.post("/v1/engagement/what-if", json={"model": model, "limit": 1000})
    assert candidate in what_if.text
    may = [row for row in EVERY if row.method == "GET" and row.path != FEED]
    answers = [called(analyst, row) for row in may if row.roles is None or Role.ANALYST in row.roles]
    for answer in (analyst.get("/v1/engagement?limit=1000"), what_if, *answers):
        assert marker.encode() not in answer.content
        assert who.encode() not in answer.content


@pytest.mark.parametrize(
    ("role", "said", "acted"),
    [
        (Role.RECRUITER, "user:somebody-else", "user:recruiter"),
        (Role.RECRUITER, None, "user:recruiter"),
        (Role.COMPLIANCE, "service:crm", "user:compliance"),
        (Role.RECRUITER, "candidate:self", "candidate:self"),
        (Role.SERVICE, "user:7", "user:7"),
        (Role.ADMIN, "user:7", "user:7"),
        (Role.ADMIN, None, "system:unknown"),
    ],
)
def test_who_acts_is_who_calls_unless_they_may_act_for_others(
    here: Here, role: Role, said: str | None, acted: str
) -> None:
    clients = here[1]
    who = somebody()
    record(clients[Role.ADMIN], did("sourced", who))
    document = did("tagged", who, tag="go") | ({} if said is None else {"actor": said})
    answer = clients[role].post("/v1/interactions", json=document)
    assert answer.status_code == 201, answer.text
    events = get(clients[Role.ADMIN], f"/v1/candidates/{who}/timeline", min_seq=answer.json()["seq"])["events"]
    assert [event["actor"] for event in events if event["type"] == "tagged"] == [acted]


@pytest.mark.parametrize("type_", sorted(BY_OFFICERS))
def test_what_officers_do_nobody_else_records(here: Here, type_: str) -> None:
    """It ends a protection, or says that a duty was met: neither a recruiter nor a service does, whoever they name."""
    clients, matter = here[1], uuid4().hex
    who = somebody()
    asked = did("request_received", who, request=matter, asks_for="access")
    record(clients[Role.ADMIN], did("sourced", who), asked, did("restricted", who, ground="unlawful"))
    data = {
        "request_extended": {"request": matter, "reason": "number"},
        "request_closed": {"request": matter, "outcome": "fulfilled"},
        "recipient_notified": {"recipient": "ats", "about": "restriction"},
    }
    said = did(type_, who, **data.get(type_, {}))
    for role in (Role.RECRUITER, Role.SERVICE):
        for actor in ("candidate:self", "user:compliance"):
            one = clients[role].post("/v1/interactions", json=said | {"actor": actor}, params={"history": True})
            assert "an officer" in is_problem(one, 403, "role-refused")
        both = clients[role].post("/v1/interactions", json=[said, did("tagged", who, tag=role)]).json()["results"]
        assert [r["status"] for r in both] == ["rejected", "accepted"]
        assert both[0]["code"] == "role-refused"
    assert clients[Role.COMPLIANCE].post("/v1/interactions", json=said).status_code == 201
    assert clients[Role.ADMIN].post("/v1/interactions", json=said).status_code == 200, "known already"


@pytest.mark.parametrize("evidence", [{}, {"evidence": None}, {"evidence": " "}])
def test_an_opt_in_that_a_recruiter_records_needs_evidence_whoever_is_said_to_act(
    here: Here, evidence: dict[str, Any]
) -> None:
    clients, who = here[1], somebody()
    record(clients[Role.ADMIN], did("sourced", who), did("opted_out", who, actor="candidate:self"))
    said = did("opted_in", who, "2026-03-02T09:30:00Z", actor="candidate:self", **evidence)
    refused = clients[Role.RECRUITER].post("/v1/interactions", json=said)
    assert "data.evidence" in is_problem(refused, 422, "opt-in-without-evidence")
    proved = said | {"data": {"evidence": "letter of 2 March"}}
    assert clients[Role.RECRUITER].post("/v1/interactions", json=proved).status_code == 201


def test_a_service_reports_the_opt_in_that_a_candidate_made(here: Here) -> None:
    clients, who = here[1], somebody()
    record(clients[Role.ADMIN], did("sourced", who))
    said = did("opted_in", who, actor="candidate:self")
    assert clients[Role.SERVICE].post("/v1/interactions", json=said).status_code == 201


def test_the_actor_of_commands_is_the_caller_too(here: Here) -> None:
    clients = here[1]
    one, other = somebody(), somebody()
    record(clients[Role.ADMIN], did("sourced", one), did("sourced", other))
    recruiter = clients[Role.RECRUITER]
    merged = recruiter.post(f"/v1/candidates/{one}/merge", json={"into": other, "actor": "user:boss"})
    assert merged.status_code == 201, merged.text
    events = get(clients[Role.ADMIN], f"/v1/candidates/{one}/timeline", min_seq=merged.json()["seq"])["events"]
    assert [event["actor"] for event in events if event["type"] == "merged"] == ["user:recruiter"]


def test_whoever_comes_at_the_same_moment_has_the_same_tokens(tmp_path: Path) -> None:
    """A command that finds a node just starting, and the node: one makes the file, and nobody overwrites it."""
    for number in range(20):
        path = tmp_path / f"{number}.json"
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _, path=path: Tokens.of(path), range(8)))
        assert {tokens[Role.ADMIN] for tokens in made} == {Tokens.of(path)[Role.ADMIN]}
        assert path.stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 20, "nothing is left beside them"
