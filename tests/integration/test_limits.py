"""Limits against whoever sends too much, too slowly or too often; and what a fault leaves in the log."""

from __future__ import annotations

import io
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from uuid import uuid4

import httpx
import pytest
import structlog
from structlog.testing import CapturingLogger

from api.http import body, connections, correlating, interactions, problems
from api.http.arriving import Arriving
from api.node import Node
from infra.logging import configure
from infra.recording import Outcome, Recording
from tests.integration.test_arriving import begun, until
from tests.integration.test_http import did, is_problem, running, somebody

NDJSON = "application/x-ndjson"
LONG = json.dumps([{"type": "x" * 900_000}]).encode()
ROOM = Arriving(1_500_000)
MOST_CONNECTIONS = 24

Here = tuple[Node, httpx.Client]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "MOST", MOST_CONNECTIONS)
        patch.setattr(interactions, "room", lambda: ROOM)
        with running(tmp_path_factory.mktemp("limits") / "data") as found:
            yield found


# ── how much ──


def test_a_json_body_that_is_too_long_is_told_of_ndjson(here: Here) -> None:
    _, http = here
    long = b"[" + b"{}," * 400_000 + b"{}]"
    for content in (long, iter([long[:900_000], long[900_000:]])):
        assert "NDJSON" in is_problem(http.post("/v1/interactions", content=content), 413, "too-large")


@pytest.mark.parametrize("accept", ["*/*", NDJSON])
def test_json_bodies_have_so_much_room_together_until_their_answer_is_sent(
    here: Here, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    _, http = here
    recorded, go_on, entered = Recording.record, threading.Event(), threading.Event()

    def waiting(self: Recording, *some: list[object], **named: bool) -> list[Outcome]:
        entered.set()
        assert go_on.wait(30)
        return recorded(self, *some, **named)  # type: ignore[arg-type]

    def sent() -> httpx.Response:
        return http.post("/v1/interactions", content=LONG, headers={"Accept": accept})

    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(Recording, "record", waiting)
        first = pool.submit(sent)
        assert entered.wait(30)
        try:
            refused = sent()
            assert "nothing of this request was recorded" in is_problem(refused, 503, "busy")
            assert refused.headers["retry-after"] == "1"
        finally:
            go_on.set()
        assert first.result().status_code == 200
    assert sent().status_code == 200
    until(lambda: ROOM.held_bytes == 0)


@pytest.mark.parametrize("path", ["/v1/sql", "/v1/pools", "/v1/interactions", "/v1/dead-letters/retry"])
def test_of_strangers_nothing_is_read_and_the_connection_goes_on(here: Here, path: str) -> None:
    """They are told that they are strangers, not what is wrong with what they sent; and can try with a token."""
    _, http = here
    broken = b'{"query":' + b"[]," * 300_000
    said = {"Content-Type": "application/json"}
    with httpx.Client(base_url=http.base_url, trust_env=False) as stranger:
        answer = stranger.post(path, content=broken, headers=said)
        is_problem(answer, 401, "no-token")
        assert "connection" not in answer.headers
        is_problem(
            stranger.post(path, content=broken, headers=said | {"Authorization": "Bearer x"}), 401, "unknown-token"
        )
        token = {"Authorization": http.headers["authorization"]}
        assert stranger.post(path, content=broken, headers=said | token).status_code in (400, 422)


def test_json_bodies_of_commands_have_so_much_room_together(here: Here) -> None:
    """The longest that is still coming gives way, as everywhere."""
    _, http = here
    token, says_json = f"Authorization: {http.headers['authorization']}", "Content-Type: application/json"
    long = b'{"name": "' + b"x" * 900_000
    with begun(http, "/v1/pools", 990_000, long, token, says_json) as first:
        until(lambda: ROOM.held_bytes >= 900_000)
        with begun(http, "/v1/pools", 990_000, long, token, says_json):
            answer = taken_in(first)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"urn:rapport:problem:busy" in answer
    until(lambda: ROOM.held_bytes == 0)
    assert http.post("/v1/pools", json={"name": somebody()}).status_code == 201


def test_what_is_long_is_not_decoded_on_the_loop_that_serves(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    _, http = here
    decoding, loads = list[str](), interactions._loads

    def noting(text: bytes) -> object:
        decoding.append(threading.current_thread().name)
        return loads(text)

    monkeypatch.setattr(interactions, "_loads", noting)
    http.post("/v1/interactions", content=LONG).raise_for_status()
    http.post("/v1/interactions", content=LONG[1:-1], headers={"Content-Type": NDJSON}).raise_for_status()
    assert len(decoding) == 2
    assert "rapport-http" not in decoding


def test_long_lines_are_recorded_a_few_at_a_time(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of 500 are not held meanwhile."""
    _, http = here
    together, record_all = list[int](), interactions.record_all

    def noting(node: Node, documents: list[object], *some: object, **named: object) -> list[Outcome]:
        together.append(len(documents))
        return record_all(node, documents, *some, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(interactions, "record_all", noting)
    line = json.dumps(did("sourced", somebody(), headline="x" * 250_000)).encode()
    answer = http.post("/v1/interactions", content=b"\n".join([line] * 10), headers={"Content-Type": NDJSON})
    assert answer.json()["rejected"] == sum(together) == 10
    assert max(together) <= 4


def test_more_connections_than_there_may_be_are_told_to_come_again_and_whoever_watches_is_answered(here: Here) -> None:
    _, http = here
    token = f"Authorization: {http.headers['authorization']}"

    def asked(path: str) -> httpx.Response:
        return httpx.get(f"{http.base_url}{path}", trust_env=False, timeout=60.0)

    with ExitStack() as stack:
        opened = 0
        while (found := asked("/openapi.json")).status_code == 200:
            assert opened < 2 * MOST_CONNECTIONS
            stack.enter_context(begun(http, "/v1/pools", 1_000, b"{", token, "Content-Type: application/json"))
            opened += 1
        assert opened <= MOST_CONNECTIONS
        assert "nothing of this request was recorded" in is_problem(found, 503, "busy")
        assert (found.headers["retry-after"], found.headers["connection"]) == ("1", "close")
        assert [asked(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    until(lambda: asked("/openapi.json").status_code == 200)


# ── how slowly ──


def taken_in(there: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    got = b""
    while piece := there.recv(65_536):
        got += piece
    return got


@pytest.mark.parametrize("path", ["/v1/pools", "/v1/compliance/requests"])
def test_a_body_that_does_not_end_is_given_up(here: Here, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(body, "WITHIN_S", 0.2)
    monkeypatch.setattr(body, "REST_WITHIN_S", 0.01)
    _, http = here
    token = f"Authorization: {http.headers['authorization']}"
    with begun(http, path, 1_000, b"{", token, "Content-Type: application/json") as there:
        answer = taken_in(there)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    assert b"urn:rapport:problem:too-slow" in answer


@pytest.mark.parametrize("asks", [(), ("Expect: 100-continue",)])
def test_for_a_strangers_body_nobody_waits(here: Here, monkeypatch: pytest.MonkeyPatch, asks: tuple[str, ...]) -> None:
    """The connection ends with the answer; who waits to be asked for the body is not asked."""
    monkeypatch.setattr(body, "REST_WITHIN_S", 0.01)
    with begun(here[1], "/v1/sql", 1_000, b"{", "Content-Type: application/json", *asks) as there:
        answer = taken_in(there)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()


def test_lines_may_come_for_as_long_as_they_come(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole takes longer than any other body may."""
    monkeypatch.setattr(body, "WITHIN_S", 0.2)
    lines = [json.dumps(did("sourced", somebody())).encode() + b"\n" for _ in range(5)]

    def slowly() -> Iterator[bytes]:
        for line in lines:
            yield line
            time.sleep(0.1)

    answer = here[1].post("/v1/interactions", content=slowly(), headers={"Content-Type": NDJSON}).json()
    assert answer["accepted"] == len(lines)


@pytest.mark.parametrize("accept", ["*/*", NDJSON])
def test_lines_that_stop_coming_are_given_up(here: Here, monkeypatch: pytest.MonkeyPatch, accept: str) -> None:
    _, http = here
    monkeypatch.setattr(body, "NEXT_WITHIN_S", 0.2)
    token = f"Authorization: {http.headers['authorization']}"
    headers = (token, f"Content-Type: {NDJSON}", f"Accept: {accept}")
    with begun(http, "/v1/interactions", 1_000, b"{}\n", *headers) as there:
        answer = taken_in(there)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"all may be sent again" in answer


# ── who goes away ──


@pytest.mark.parametrize("accept", ["*/*", NDJSON])
def test_who_hangs_up_while_lines_come_is_no_fault(here: Here, monkeypatch: pytest.MonkeyPatch, accept: str) -> None:
    node, http = here
    faults, before = list[Exception](), node.ledger.last_seq()
    monkeypatch.setattr(problems, "_note", lambda _request, error: faults.append(error))
    said = b"".join(json.dumps(did("sourced", somebody())).encode() + b"\n" for _ in range(500))
    headers = (f"Authorization: {http.headers['authorization']}", f"Content-Type: {NDJSON}", f"Accept: {accept}")
    with begun(http, "/v1/interactions", 10 * len(said), said, *headers):
        until(lambda: node.ledger.last_seq() == before + 500)
    until(lambda: len(http.get("/v1/pools").content) > 0)
    time.sleep(0.2)
    assert faults == []


# ── what is logged ──


def test_at_level_debug_each_request_is_a_line_that_names_nobody(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    _, http = here
    secret = "what-proves-it"  # noqa: S105 - of nobody
    monkeypatch.setattr(correlating, "log", log := CapturingLogger())
    http.get(f"/v1/candidates/{uuid4().hex}", params={"as_of": "ada@example.com"})
    http.post(f"/v1/webhooks/postmark/{secret}", content=b"{}")
    http.get("/nowhere/ada@example.com")
    until(lambda: len(log.calls) == 3)
    assert {call.method_name for call in log.calls} == {"debug"}
    told = [(line["method"], line["route"], line["status"]) for line in (call.kwargs for call in log.calls)]
    assert told[0] == ("GET", "/v1/candidates/{ref}", 422)
    assert told[1:] == [("POST", "/v1/webhooks/{provider}", 404), ("GET", None, 404)]
    assert all(0 < call.kwargs["seconds"] < 60 for call in log.calls)
    assert "ada" not in str(log.calls)
    assert secret not in str(log.calls)


def test_a_fault_is_logged_by_its_type_and_place_without_its_message(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever answers the request, who knows which it was, and by the server that it then reaches."""
    _, http = here
    said, own = io.StringIO(), uuid4().hex

    def failing(*_: object, **__: object) -> list[Outcome]:
        raise RuntimeError("about ada@example.com")

    monkeypatch.setattr(Recording, "record", failing)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", said)
            patch.setattr(problems, "log", structlog.get_logger())  # one that was not used yet: it keeps its stream
            configure("error")
            answer = http.post("/v1/interactions", json=did("sourced", somebody()), headers={"X-Request-Id": own})
            is_problem(answer, 500, "fault")
            until(lambda: "uvicorn.error" in said.getvalue())
    finally:
        configure("error")
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert {line.get("route") for line in lines} == {"/v1/interactions", None}
    assert own in [line.get("correlation") for line in lines]
    assert {(line["error"], line["file"]) for line in lines} == {("RuntimeError", __file__)}
    assert "ada" not in said.getvalue()


def test_what_libraries_log_is_cut_before_any_value(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", said)
            configure("warning")
            try:
                raise KeyError("ada@example.com")
            except KeyError as error:
                logging.getLogger("asyncio").error("Task never retrieved\nfuture: <%s>" % repr(error), exc_info=True)  # noqa: UP031
                logging.getLogger("a.library").warning("no answer for %s", "ada@example.com")
                structlog.get_logger().error("ours", exc_info=True)
    finally:
        configure("error")
    told = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [(line["event"], line["level"], line.get("error")) for line in told] == [
        ("Task never retrieved", "error", "KeyError"),
        ("no answer for", "warning", None),
        ("ours", "error", "KeyError"),
    ]
    assert "ada" not in said.getvalue()
