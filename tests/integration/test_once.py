"""`Idempotency-Key`: a request that is sent again is not carried out again, and gets the answer it got."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from uuid import uuid4

import httpx
import pytest
from eventsourcing.persistence import OperationalError

from api.cli.client import client_of, served
from api.http import once
from api.http.roles import Role
from api.node import Node
from infra.jetstream import Bucket
from infra.recording import Recording
from tests.integration.test_http import did, is_problem, record, running, somebody, until

Here = tuple[Node, httpx.Client]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    with running(tmp_path_factory.mktemp("once") / "data") as found:
        yield found


def keyed(http: httpx.Client, key: str, body: Any, path: str = "/v1/interactions", **headers: str) -> httpx.Response:
    return http.post(path, json=body, headers={"Idempotency-Key": key} | headers)


def test_the_same_request_again_gets_the_same_answer_and_the_ledger_stays_as_it_is(here: Here) -> None:
    node, http = here
    key, sent = uuid4().hex, did("sourced", somebody())
    first = keyed(http, key, sent)
    assert (first.status_code, "idempotency-replayed" in first.headers) == (201, False)
    stands = node.ledger.last_seq()
    for _ in range(3):
        again = keyed(http, key, sent)
        assert (again.status_code, again.content) == (201, first.content), "without a key it would be 200, duplicate"
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
    assert node.ledger.last_seq() == stands


def test_commands_and_arrays_are_carried_out_once(here: Here) -> None:
    node, http = here
    one, other = somebody(), somebody()
    record(http, did("sourced", one), did("sourced", other))
    name = uuid4().hex
    for path, body in (
        ("/v1/pools", {"name": name, "occurred_at": "2026-03-01T00:00:00Z"}),
        (f"/v1/pools/{name}/archive", {"occurred_at": "2026-03-02T00:00:00Z"}),
        (f"/v1/candidates/{one}/merge", {"into": other}),
        (f"/v1/candidates/{one}/unmerge", {}),
        ("/v1/compliance/requests", {"candidate": one, "asks_for": "access"}),
        ("/v1/interactions", [did("tagged", one, tag="go"), did("nonsense", one)]),
    ):
        key = uuid4().hex
        first = keyed(http, key, body, path)
        assert first.is_success, (path, first.text)
        stands = node.ledger.last_seq()
        assert keyed(http, key, body, path).content == first.content
        assert node.ledger.last_seq() == stands, path


def test_another_request_under_the_same_key_is_422_and_is_not_carried_out(here: Here) -> None:
    node, http = here
    key, who = uuid4().hex, somebody()
    assert keyed(http, key, did("sourced", who)).status_code == 201
    stands = node.ledger.last_seq()
    is_problem(keyed(http, key, did("sourced", somebody())), 422, "idempotency-key-reused")
    is_problem(keyed(http, key, {"name": uuid4().hex}, "/v1/pools"), 422, "idempotency-key-reused")
    assert node.ledger.last_seq() == stands


def test_a_key_is_its_callers_own(here: Here) -> None:
    node, http = here
    key = uuid4().hex
    assert keyed(http, key, did("sourced", somebody())).status_code == 201
    with client_of(str(http.base_url), node.settings, Role.RECRUITER) as other:
        answer = keyed(other, key, did("sourced", somebody()))
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (201, False)
    with client_of(str(http.base_url), node.settings, Role.ANALYST) as analyst:
        is_problem(keyed(analyst, key, did("sourced", somebody())), 403, "role-refused")


def test_while_a_request_is_under_way_the_same_again_is_409(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    _, http = here
    begun, go_on = Event(), Event()
    recorded = Recording.record

    def slow(self: Recording, *some: Any, **named: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return recorded(self, *some, **named)

    monkeypatch.setattr(Recording, "record", slow)
    key, sent = uuid4().hex, did("sourced", somebody())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(keyed, http, key, sent)
        assert begun.wait(30)
        refused = keyed(http, key, sent)
        go_on.set()
        is_problem(refused, 409, "request-under-way")
        assert refused.headers["retry-after"] == "1"
        assert first.result().status_code == 201
    assert keyed(http, key, sent).content == first.result().content


def test_what_was_refused_or_failed_may_be_tried_again(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    _, http = here
    key, who = uuid4().hex, somebody()
    sent = did("tagged", who, tag="go")
    is_problem(keyed(http, key, sent), 404, "unresolved-candidate")
    record(http, did("sourced", who))

    def failing(*_some: Any, **_named: Any) -> Any:
        raise OperationalError("no connection")

    with monkeypatch.context() as patch:
        patch.setattr(Recording, "record", failing)
        is_problem(keyed(http, key, sent), 503, "ledger-unavailable")
    with monkeypatch.context() as patch:
        patch.setattr(Recording, "record", lambda *_, **__: 1 / 0)
        is_problem(keyed(http, key, sent, **{"Connection": "close"}), 500, "fault")
    assert keyed(http, key, sent).status_code == 201


def test_what_failed_half_way_is_carried_out_again(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer came line by line, and so began as any other."""
    _, http = here
    key, sent, recorded = uuid4().hex, [did("sourced", somebody()) for _ in range(600)], Recording.record
    first = [True]

    def failing_at_the_second(*some: Any, **named: Any) -> Any:
        if not first:
            raise OperationalError("no connection")
        first.pop()
        return recorded(*some, **named)

    def last(answer: httpx.Response) -> Any:
        assert "idempotency-replayed" not in answer.headers
        return json.loads(answer.text.splitlines()[-1])

    with monkeypatch.context() as patch:
        patch.setattr(Recording, "record", failing_at_the_second)
        assert last(keyed(http, key, sent, accept="application/x-ndjson"))["error"]["status"] == 503
    summary = last(keyed(http, key, sent, accept="application/x-ndjson"))["summary"]
    assert (summary["duplicates"], summary["accepted"]) == (500, 100)


def test_of_an_answer_too_long_to_be_kept_it_is_known_what_was_asked(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, http = here
    monkeypatch.setattr(once, "MAX_ANSWER_BYTES", 300)
    key, sent = uuid4().hex, [did("sourced", somebody()) for _ in range(5)]
    assert keyed(http, key, sent).json()["accepted"] == 5
    for _ in range(2):
        again = keyed(http, key, sent)
        assert (again.json()["duplicates"], "idempotency-replayed" in again.headers) == (5, False)
    is_problem(keyed(http, key, sent[:4]), 422, "idempotency-key-reused")


def test_the_key_of_a_request_that_died_half_way_is_taken_over(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node was killed between taking the key and answering: what it had recorded is found again, not doubled."""
    node, http = here
    key, sent = uuid4().hex, did("sourced", somebody())
    monkeypatch.setattr(once.Claim, "settle", lambda _: None)
    assert keyed(http, key, sent).status_code == 201
    monkeypatch.undo()
    is_problem(keyed(http, key, sent), 409, "request-under-way")
    stands = node.ledger.last_seq()
    monkeypatch.setattr(once, "TAKEN_OVER_AFTER_S", 0.0)
    assert keyed(http, key, sent).json()["status"] == "duplicate"
    assert node.ledger.last_seq() == stands


def away(*_some: Any, **_named: Any) -> Any:
    raise OperationalError("no connection")


def test_an_answer_that_cannot_be_kept_is_given_and_kept_as_soon_as_it_can_be(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS broke between what was done and the keeping of its answer: it is not done again, through no node."""
    node, http = here
    monkeypatch.setattr(once, "AGAIN_S", 0.05)
    key, name = uuid4().hex, uuid4().hex
    with monkeypatch.context() as patch:
        patch.setattr(once.Claim, "settle", away)
        first = keyed(http, key, {"name": name}, "/v1/pools")
        assert first.status_code == 201, first.text
        is_problem(keyed(http, key, {"name": name}, "/v1/pools"), 503, "ledger-unavailable")
    stands = node.ledger.last_seq()
    with served(node) as url, client_of(url, node.settings) as other:  # a node of its own, as far as keys go
        until(lambda: keyed(other, key, {"name": name}, "/v1/pools").status_code == 201)
        again = keyed(other, key, {"name": name}, "/v1/pools")
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert node.ledger.last_seq() == stands


def test_who_asks_again_first_has_the_answer_kept(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    _, http = here
    monkeypatch.setattr(once, "AGAIN_S", 60.0)
    key, body = uuid4().hex, {"name": uuid4().hex}
    with monkeypatch.context() as patch:
        patch.setattr(once.Claim, "settle", away)
        first = keyed(http, key, body, "/v1/pools")
    assert keyed(http, key, body, "/v1/pools").content == first.content


def test_a_refusal_whose_key_cannot_be_freed_is_given_and_the_key_is_free_later(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, http = here
    key, who = uuid4().hex, somebody()
    sent = did("tagged", who, tag="go")
    with monkeypatch.context() as patch:
        patch.setattr(once.Claim, "settle", away)
        is_problem(keyed(http, key, sent), 404, "unresolved-candidate")
        patch.setattr(Recording, "record", lambda *_, **__: 1 / 0)
        is_problem(keyed(http, uuid4().hex, sent, **{"Connection": "close"}), 500, "fault")
    record(http, did("sourced", who))
    assert keyed(http, key, sent).status_code == 201


def test_a_key_that_was_taken_over_is_not_freed_by_whoever_had_it_before(here: Here) -> None:
    node, _ = here
    bucket = Bucket(node.connection, "answers", keep_s=once.KEEP_S)
    before = once._claim(bucket, "k" * 64, "r")
    bucket.update("k" * 64, b'{"request": "r"}', before.revision)
    before.settle()
    assert bucket.get("k" * 64) is not None


@pytest.mark.parametrize("key", ["", "k" * 256, "\x7f"])
def test_a_key_that_is_none_is_400(here: Here, key: str) -> None:
    refused = here[1].post("/v1/interactions", json={}, headers=[(b"Idempotency-Key", key.encode())])
    is_problem(refused, 400, "invalid-idempotency-key")


def test_a_stream_sent_again_under_its_key_records_what_is_new_and_nothing_twice(here: Here) -> None:
    """No answer is kept of what may be of any length. Nor is another stream under the same key taken for the first."""
    node, http = here
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": uuid4().hex}
    lines = [{k: v for k, v in did("sourced", somebody()).items() if k != "id"} for _ in range(3)]

    def sent(some: list[dict[str, Any]]) -> tuple[int, int]:
        stream = iter([json.dumps(line).encode() + b"\n" for line in some])
        answer = http.post("/v1/interactions", content=stream, headers=headers)
        return answer.json()["accepted"], answer.json()["duplicates"]

    assert sent(lines[:2]) == (2, 0)
    stands = node.ledger.last_seq()
    assert sent(lines[:2]) == (0, 2)
    assert node.ledger.last_seq() == stands
    assert sent(lines) == (1, 2)


def test_long_bodies_take_no_key(here: Here) -> None:
    _, http = here
    is_problem(keyed(http, uuid4().hex, ["x" * 1_000_001]), 413, "too-large")
    endless = http.post("/v1/interactions", content=iter([b"{}"]), headers={"Idempotency-Key": uuid4().hex})
    is_problem(endless, 413, "too-large")


def test_nothing_that_was_sent_is_kept_and_what_is_kept_goes_after_a_day(here: Here) -> None:
    node, http = here
    key, who = f"order for {somebody()}", somebody()
    keyed(http, key, did("sourced", who, first_name="Zebedee"))
    kept = Bucket(node.connection, "answers", keep_s=once.KEEP_S).load_all()
    assert kept
    for name, value in kept.items():
        assert len(name) == 64
        for text in (who, "Zebedee", key):
            assert text.encode() not in value
    described = node.connection.call(node.connection.api("STREAM.INFO.KV_answers", {}))
    assert described["config"]["max_age"] == 24 * 3600 * 10**9
