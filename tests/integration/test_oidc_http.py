"""Callers with tokens of an identity provider, on a node that also has tokens of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.client import client_of, served
from api.http.rate import Rate
from api.http.roles import Role
from api.node import Node
from infra.logging import configure
from infra.settings import Settings
from tests.integration.test_http import did, get, is_problem, record, somebody
from tests.provider import AUDIENCE, Provider, provider

Here = tuple[Provider, httpx.Client, httpx.Client]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """The provider, a client with the admin's own token, and one with none."""
    configure("error")
    with provider() as idp:
        settings = Settings(
            data=tmp_path_factory.mktemp("oidc") / "data",
            port=0,
            oidc_issuer=idp.url,
            oidc_audience=AUDIENCE,
            oidc_roles="crm-all=recruiter,crm-officers=compliance,crm-data=analyst",
            oidc_leeway_s=0,
        )
        with (
            Node(settings) as node,
            served(node) as url,
            client_of(url, settings) as admin,
            httpx.Client(base_url=url, trust_env=False) as http,
        ):
            yield idp, admin, http


def bearer(idp: Provider, *groups: str, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {idp.token(roles=list(groups), **claims)}"}


def test_a_recruiter_of_the_provider_records_under_their_own_name_and_the_log_has_it(here: Here) -> None:
    idp, admin, http = here
    who = somebody()
    record(admin, did("sourced", who))
    mine = bearer(idp, "crm-all", sub="ada-17")
    said = did("tagged", who, tag="go", actor="user:somebody-else")
    answer = http.post("/v1/interactions", json=said, headers=mine)
    assert answer.status_code == 201, answer.text
    assert http.post("/v1/interactions", json=said, headers=mine).json()["status"] == "duplicate"
    events = http.get(f"/v1/candidates/{who}/timeline", params={"min_seq": answer.json()["seq"]}, headers=mine)
    assert [event["actor"] for event in events.json()["events"]] == ["user:ada-17", "system:unknown"]
    log = get(admin, "/v1/access-log", of=who)["records"]
    assert [(r["role"], r["token"], r["subject"]) for r in log if r["what"] == "timeline"] == [
        ("recruiter", "oidc", "ada-17")
    ]


def test_each_route_is_called_in_the_widest_role_that_it_is_for(here: Here) -> None:
    idp, admin, http = here
    who = somebody()
    record(admin, did("sourced", who))
    both = bearer(idp, "crm-all", "crm-officers", "crm-data")
    assert http.post("/v1/pools", json={"name": somebody()}, headers=both).status_code == 201
    assert http.get(f"/v1/compliance/candidates/{who}/trail", headers=both).status_code == 200
    is_problem(http.get("/v1/compliance/findings", headers=bearer(idp, "crm-all")), 403, "role-refused")
    last = get(admin, "/v1/access-log", of=who)["records"][-1]
    assert (last["what"], last["role"]) == ("trail", "compliance")


@pytest.mark.parametrize("groups", [(), ("admin",), ("janitors",)])
def test_a_good_token_without_a_role_of_ours_may_do_nothing(here: Here, groups: tuple[str, ...]) -> None:
    idp, _, http = here
    is_problem(http.get("/v1/status", headers=bearer(idp, *groups)), 403, "role-refused")


def test_a_good_token_without_a_role_of_ours_counts_among_the_refused(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever the provider knows may have one; by its address, as one that does not count."""
    idp, _, http = here
    rate = Rate(0.001, 2)
    monkeypatch.setattr(Rate, "take", lambda _, who, took=rate.take: took(who) if who == "127.0.0.1" else None)
    nobody = bearer(idp, "janitors")
    for _ in range(2):
        is_problem(http.get("/v1/status", headers=nobody), 403, "role-refused")
    is_problem(http.get("/v1/status", headers=nobody), 429, "too-many-requests")


@pytest.mark.parametrize("wrong", [{"exp": 1}, {"aud": "other"}, {"iss": "https://other.example"}, {"without": "iat"}])
def test_a_token_that_does_not_count_is_401_and_is_not_taken_for_another_kind(
    here: Here, wrong: dict[str, Any]
) -> None:
    idp, _, http = here
    refused = http.get("/v1/status", headers=bearer(idp, "crm-officers", **wrong))
    said = is_problem(refused, 401, "unknown-token")
    assert "u-17" not in said
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_tokens_of_the_roles_go_on_counting_beside_the_providers(here: Here) -> None:
    assert here[1].get("/v1/status").status_code == 200


def test_a_stream_of_the_feed_ends_with_the_token_that_it_was_asked_for_with(here: Here) -> None:
    """Not by a broken connection; and what is asked for with it afterwards is refused."""
    idp, _, http = here
    until = int(time.time()) + 2
    mine = bearer(idp, "crm-data", exp=until)
    with http.stream("GET", "/v1/feed", headers=mine) as answer:
        assert answer.status_code == 200
        lines = list(answer.iter_lines())
    assert lines[0].startswith("retry")
    assert time.time() >= until
    is_problem(http.get("/v1/feed", headers=mine), 401, "unknown-token")


def test_without_the_providers_keys_its_tokens_are_503_and_the_nodes_own_still_count(tmp_path: Path) -> None:
    configure("error")
    with provider() as idp:
        idp.answers = False
        few = {"refused_burst": 2, "refused_per_s": 0.001}
        settings = Settings(data=tmp_path / "data", port=0, oidc_issuer=idp.url, oidc_audience=AUDIENCE, **few)
        with Node(settings) as node, served(node) as url, client_of(url, settings, Role.ANALYST) as http:
            refused = http.get("/v1/status", headers=bearer(idp, "admin"))
            is_problem(refused, 503, "identity-provider-unavailable")
            assert refused.headers["retry-after"] == "5"
            is_problem(http.get("/v1/status", headers=bearer(idp, "admin")), 503, "identity-provider-unavailable")
            made_up = {"Authorization": "Bearer a.b.c"}
            is_problem(http.get("/v1/status", headers=made_up), 429, "too-many-requests")
            is_problem(http.get("/v1/status", headers=bearer(idp, "admin")), 429, "too-many-requests")
            assert http.get("/v1/status").status_code == 200
