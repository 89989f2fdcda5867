"""The API does what its own description says, whatever is sent: no fault, no answer of a form that is not described."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.cli.client import client_of
from api.http import role_table
from api.http.roles import Role
from api.node import Node
from domain.event import utc_now
from infra.ingest_seals import Taken
from tests.integration.test_http import did, record, running

ADA = "ada@example.com"
EXAMPLES = 200 if os.environ.get("RAPPORT_SOAK") else 4
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
KNOWN = {"ref": ADA, "pool": "known"}
LASTING = {
    "GET /v1/feed": "it never ends",
    "POST /v1/snapshots": "a copy of everything each time",
    "GET /v1/snapshot.duckdb": "the same",
    "POST /v1/views/rebuild": "everything anew each time",
}
OF_ANY_FORM = {
    "POST /v1/sql": "what was selected",
    "GET /v1/feed/schemas/{type}/{version}": "a JSON Schema",
    "GET /asyncapi.json": "an AsyncAPI document",
}
ROUTES = [name for row in role_table.rows() if (name := f"{row.method} {row.path}") not in LASTING]

Here = tuple[Node, dict[Role, httpx.Client], Any]


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The API's description, so that an answer may have no member that does not stand there. Callers are told that
    more may come; what comes is to be described all the same."""
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema and name != "Problem":
            schema.setdefault("additionalProperties", False)
    return document


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    with running(tmp_path_factory.mktemp("described") / "data") as (node, admin):
        admin.post("/v1/pools", json={"name": KNOWN["pool"], "rule": {"all": [{"tag": "go"}]}}).raise_for_status()
        node.intake.letters.add(Taken("sendgrid", utc_now(), {}, b"[]"), ["nobody knows"])
        node.wait_for(record(admin, did("sourced", ADA), did("tagged", ADA, tag="go")))
        clients = {role: client_of(str(admin.base_url), node.settings, role) for role in Role}
        yield node, clients, schemathesis.openapi.from_dict(strict(admin.get("/openapi.json").json()))
        for client in clients.values():
            client.close()


@pytest.mark.parametrize("route", ROUTES)
def test_no_fault_and_nothing_that_is_not_described(here: Here, route: str) -> None:
    """In every role, with what fits the description and what does not."""
    _, clients, schema = here
    method, _, path = route.partition(" ")
    operation = schema[path][method]
    valid, invalid = (operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)
    named = {name: value for name, value in KNOWN.items() if f"{{{name}}}" in path}
    there = operation.as_strategy(path_parameters=named) if named else valid

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not os.environ.get("RAPPORT_SOAK"),
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=valid | there | invalid, role=st.sampled_from([*Role, Role.ADMIN, Role.ADMIN]))
    def asked(case: Any, role: Role) -> None:
        if case.query is not None:
            case.query.pop("min_seq", None)  # of an event that there is not yet: 503, rightly
        client = clients[role]
        headers = {"Authorization": client.headers["authorization"]}
        case.call_and_validate(base_url=str(client.base_url), headers=headers, checks=CHECKS, timeout=60)

    asked()


def test_every_route_says_in_which_form_it_answers(here: Here) -> None:
    """But those whose answer is whatever was asked for."""
    _, _, schema = here
    vague = set()
    for route in ROUTES + list(LASTING):
        method, _, path = route.partition(" ")
        for status, response in schema[path][method].definition.raw["responses"].items():
            said = response.get("content", {}).get("application/json")
            form = {} if said is None else said.get("schema", {})
            if status.startswith("2") and said is not None and not {"$ref", "anyOf", "items"} & form.keys():
                vague.add(route)
    assert vague == OF_ANY_FORM.keys()
