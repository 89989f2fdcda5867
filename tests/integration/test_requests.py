"""Data subjects' requests over HTTP: opened, extended, answered, and who else was told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.node import Node
from domain.policy import RequestKind
from domain.request import due_at
from tests.integration.test_http import did, get, record, running, somebody, until

REQUESTS = "/v1/compliance/requests"
NOW = datetime.now(UTC).replace(microsecond=0)


def days_ago(days: int) -> str:
    return (NOW - timedelta(days=days)).isoformat()


@pytest.fixture(scope="module")
def node_and_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with running(tmp_path_factory.mktemp("node")) as pair:
        yield pair


@pytest.fixture
def http(node_and_http: tuple[Node, httpx.Client]) -> httpx.Client:
    return node_and_http[1]


@pytest.fixture
def ada(http: httpx.Client) -> str:
    email = somebody()
    record(http, did("sourced", email, source="linkedin"))
    return email


def opened(http: httpx.Client, who: str, asks_for: str = "access", **more: Any) -> str:
    answer = http.post(REQUESTS, json={"candidate": who, "asks_for": asks_for} | more)
    assert answer.status_code == 201, answer.text
    request: str = answer.json()["request"]
    return request


def shown(http: httpx.Client, request: str, **params: Any) -> Any:
    return get(http, f"{REQUESTS}/{request}", **params)


def refused(http: httpx.Client, request: str, verb: str, **body: Any) -> str:
    answer = http.post(f"{REQUESTS}/{request}/{verb}", json=body)
    assert answer.status_code == 409, answer.text
    return str(answer.json()["detail"])


def accepted(http: httpx.Client, request: str, verb: str, **body: Any) -> None:
    answer = http.post(f"{REQUESTS}/{request}/{verb}", json=body)
    assert answer.status_code == 201, answer.text


def test_a_request_goes_from_open_to_extended_to_closed(http: httpx.Client, ada: str) -> None:
    """Its page has the deadline of the domain's rule at each step, and what the person wrote."""
    received = days_ago(10)
    request = opened(http, ada, received_at=received, details="a copy, please", channel="email")
    page = shown(http, request)
    assert (page["state"], page["asks_for"]) == ("open", "access")
    assert datetime.fromisoformat(page["due_at"]) == due_at(datetime.fromisoformat(received))
    assert page["events"][0]["data"]["details"] == "a copy, please"
    accepted(http, request, "extend", reason="complexity", explanation="there is much")
    page = shown(http, request)
    assert datetime.fromisoformat(page["due_at"]) == due_at(datetime.fromisoformat(received), extended=True)
    accepted(http, request, "close", outcome="fulfilled")
    page = shown(http, request)
    assert (page["state"], page["outcome"]) == ("closed", "fulfilled")
    assert [event["type"] for event in page["events"]] == ["request_received", "request_extended", "request_closed"]
    assert page["events"][1]["data"]["explanation"] == "there is much"


def test_as_of_shows_what_held_then(http: httpx.Client, ada: str) -> None:
    """Before it came in it was not there; before it was closed it was overdue."""
    request = opened(http, ada, received_at=days_ago(100))
    accepted(http, request, "close", outcome="withdrawn", closed_at=days_ago(1))
    assert shown(http, request)["state"] == "closed"
    assert shown(http, request, as_of=days_ago(2))["state"] == "overdue"
    assert shown(http, request, as_of=days_ago(99))["state"] == "open"
    assert http.get(f"{REQUESTS}/{request}", params={"as_of": days_ago(101)}).status_code == 404


def test_what_the_law_does_not_allow_is_refused_and_changes_nothing(http: httpx.Client, ada: str) -> None:
    late, request = opened(http, ada, received_at=days_ago(60)), opened(http, ada, received_at=days_ago(2))
    before = shown(http, late), shown(http, request)
    assert "within the first month" in refused(http, late, "extend", reason="number")
    assert "explanation" in refused(http, request, "close", outcome="refused")
    assert "correct the time" in refused(http, request, "close", outcome="fulfilled", closed_at=days_ago(3))
    assert "Art. 19" in refused(http, request, "recipients", recipient="Mailer Ltd")
    assert (shown(http, late), shown(http, request)) == before
    accepted(http, late, "extend", reason="number", told_at=days_ago(40))
    accepted(http, request, "extend", reason="number")
    assert "allows once" in refused(http, request, "extend", reason="number")
    accepted(http, request, "close", outcome="refused", explanation="asked for daily")
    assert "closed" in refused(http, request, "close", outcome="fulfilled")
    assert "closed" in refused(http, request, "extend", reason="number")


def test_an_unknown_request_and_an_unknown_person_are_not_found(http: httpx.Client) -> None:
    for answer in (
        http.get(f"{REQUESTS}/{'0' * 32}"),
        http.post(f"{REQUESTS}/{'0' * 32}/close", json={"outcome": "fulfilled"}),
        http.post(f"{REQUESTS}/{'0' * 32}/extend", json={"reason": "number"}),
        http.post(f"{REQUESTS}/{'0' * 32}/recipients", json={"recipient": "x"}),
        http.post(REQUESTS, json={"candidate": somebody(), "asks_for": "access"}),
    ):
        assert answer.status_code == 404, answer.text
    assert http.get(f"{REQUESTS}/00000000-0000-0000-0000-000000000000").status_code == 404
    for nonsense in ("nonsense", "3b-88a20ad7-88e-fa0646b3e501008fa657", "-" * 36, "0" * 36):
        assert http.get(f"{REQUESTS}/{nonsense}").status_code == 422
        assert http.post(f"{REQUESTS}/{nonsense}/close", json={"outcome": "fulfilled"}).status_code == 422


def test_somebody_who_is_not_known_gets_a_record_when_it_is_said_where_from(http: httpx.Client) -> None:
    """Whoever asks has to be answered, also that nothing is held."""
    stranger = somebody()
    opened(http, stranger, source="letter")
    found = get(http, REQUESTS, candidate=stranger)["requests"]
    assert [row["asks_for"] for row in found] == ["access"]


def test_sending_it_again_with_an_id_of_ones_own_changes_nothing(http: httpx.Client, ada: str) -> None:
    body = {"candidate": ada, "asks_for": "erasure", "received_at": days_ago(1), "request": uuid4().hex}
    first, again = http.post(REQUESTS, json=body), http.post(REQUESTS, json=body)
    assert (first.status_code, again.json()["status"]) == (201, "duplicate")
    assert len(get(http, REQUESTS, candidate=ada)["requests"]) == 1
    other = http.post(REQUESTS, json=body | {"asks_for": "access"})
    assert (other.status_code, other.json()["type"]) == (409, "urn:rapport:problem:request-refused")


def test_a_request_on_a_merged_record_is_the_persons_and_goes_on_on_its_record(http: httpx.Client, ada: str) -> None:
    twin = somebody()
    record(http, did("sourced", twin, source="ats"))
    request = opened(http, twin)
    assert http.post(f"/v1/candidates/{twin}/merge", json={"into": ada}).status_code == 201
    (row,) = get(http, REQUESTS, candidate=ada, min_seq=last_seq(http))["requests"]
    assert (row["request_id"], row["canonical_id"] != row["candidate_id"]) == (request, True)
    accepted(http, request, "close", outcome="fulfilled")
    assert shown(http, request)["state"] == "closed"


def last_seq(http: httpx.Client) -> int:
    seq: int = get(http, "/v1/status")["ledger"]["last_seq"]
    return seq


def test_the_list_is_by_deadline_narrowed_down_and_paged(http: httpx.Client) -> None:
    """Pages put together are the whole, each request once."""
    who = somebody()
    record(http, did("sourced", who, source="x"))
    kinds = [*RequestKind, *RequestKind]
    requests = [opened(http, who, kind, received_at=days_ago(60 - 5 * n)) for n, kind in enumerate(kinds)]
    accepted(http, requests[0], "close", outcome="fulfilled")
    whole = get(http, REQUESTS, candidate=who, min_seq=last_seq(http))
    assert [row["request_id"] for row in whole["requests"]] == requests
    assert whole["next"] is None
    pages, after = [], None
    while True:
        page = get(http, REQUESTS, candidate=who, limit=5, **({"after": after} if after else {}))
        pages += page["requests"]
        if (after := page["next"]) is None:
            break
    assert pages == whole["requests"]
    states = {row["request_id"]: row["state"] for row in pages}
    assert states[requests[0]] == "closed"
    waiting = get(http, REQUESTS, candidate=who, state=["open", "overdue"])["requests"]
    assert [row["request_id"] for row in waiting] == requests[1:]
    overdue = {row["request_id"] for row in get(http, REQUESTS, candidate=who, state="overdue")["requests"]}
    assert overdue == {r for r, state in states.items() if state == "overdue"}
    erasures = get(http, REQUESTS, candidate=who, asks_for="erasure")["requests"]
    assert {row["asks_for"] for row in erasures} == {"erasure"}
    assert http.get(REQUESTS, params={"after": "yesterday"}).status_code == 422


def test_recipients_are_told_and_confirm(http: httpx.Client, ada: str) -> None:
    request = opened(http, ada, "rectification")
    accepted(http, request, "recipients", recipient="Mailer Ltd")
    accepted(http, request, "recipients", recipient="Mailer Ltd", acknowledged=True)
    other = opened(http, ada, "objection")
    accepted(http, other, "recipients", recipient="Mailer Ltd", about="erasure")
    told = [(r["recipient"], r["about"], r["acknowledged"]) for r in shown(http, request)["recipients"]]
    assert told == [("Mailer Ltd", "rectification", False), ("Mailer Ltd", "rectification", True)]
    (one,) = shown(http, other)["recipients"]
    assert one["about"] == "erasure"
    address = http.post(f"{REQUESTS}/{request}/recipients", json={"recipient": "bob@example.com"})
    assert address.status_code == 422, "a label is stored in the clear"


def test_of_a_request_that_was_answered_by_erasing_it_is_said_when(http: httpx.Client, ada: str) -> None:
    request = opened(http, ada, "erasure", details="everything")
    body = {"candidate": ada, "ground": "objection", "request": request}
    erasure = http.post("/v1/compliance/erasures", json=body).json()["erasure"]
    until(lambda: http.get(f"/v1/compliance/erasures/{erasure}").json().get("certified"))
    for answer in (
        http.get(f"{REQUESTS}/{request}", params={"min_seq": last_seq(http)}),
        http.post(f"{REQUESTS}/{request}/close", json={"outcome": "fulfilled"}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (410, "urn:rapport:problem:erased")
        assert erasure in answer.json()["detail"]
    assert request not in {row["request_id"] for row in get(http, REQUESTS, limit=1000)["requests"]}
    again = http.post(REQUESTS, json={"candidate": ada, "asks_for": "access"})
    assert (again.status_code, again.json()["type"]) == (410, "urn:rapport:problem:erased")


@pytest.mark.parametrize("asks_for", RequestKind)
def test_the_page_names_the_command_that_carries_it_out(http: httpx.Client, ada: str, asks_for: str) -> None:
    """What it says to import is an interaction that is taken; the others are commands with record and request."""
    request = opened(http, ada, asks_for)
    page = shown(http, request)
    command = page["carried_out_by"]
    if "rapport import" in command:
        written = subprocess.run(["sh", "-c", command.partition(" | ")[0]], check=True, capture_output=True)
        answer = http.post("/v1/interactions", json=json.loads(written.stdout))
        assert answer.status_code == 201, answer.text
        if asks_for == RequestKind.RESTRICTION:
            assert [event["type"] for event in shown(http, request)["events"]] == ["request_received", "restricted"]
    else:
        assert page["candidate_id"] in command
        assert command.endswith(f"--request {request}")
