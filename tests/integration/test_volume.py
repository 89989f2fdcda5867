"""Much at a time: streams in and out, limits of what is taken, and what is said when it is too much."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, cast
from urllib.parse import urlsplit

import httpx
import pytest

from api.cli.client import client_of, served
from api.http import outcomes, streaming
from api.http.roles import Role
from api.node import Node
from infra.logging import configure
from infra.recording import Recording
from infra.settings import Settings
from tests.integration.test_http import did, get, is_problem, post, record, running, somebody

NDJSON = "application/x-ndjson"
BOTH = {"Content-Type": NDJSON, "Accept": NDJSON}

Here = tuple[Node, httpx.Client]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    with running(tmp_path_factory.mktemp("volume") / "data") as found:
        yield found


def lines(*documents: Any) -> bytes:
    return b"".join(json.dumps(d).encode() + b"\n" for d in documents)


def answered(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == NDJSON
    return [json.loads(line) for line in answer.text.splitlines()]


# ── line by line ──


def test_lines_are_answered_in_order_with_a_summary_behind_them(here: Here) -> None:
    _, http = here
    who = somebody()
    sent = [did("sourced", who), did("nonsense", who), did("tagged", who, tag="go")]
    content = lines(*sent[:2]) + b"\n  \n{broken\n" + lines(sent[2], sent[0])
    *results, last = answered(http.post("/v1/interactions", content=content, headers=BOTH))
    assert [r["status"] for r in results] == ["accepted", "rejected", "rejected", "accepted", "duplicate"]
    assert results[2]["code"] == "invalid-json"
    assert last["summary"] == {"accepted": 2, "duplicates": 1, "rejected": 2, "last_seq": results[3]["seq"]}


@pytest.mark.parametrize("named", ["APPLICATION/X-NDJSON; charset=utf-8", "application/ndjson", "application/jsonl"])
def test_lines_go_by_several_names(here: Here, named: str) -> None:
    sent = [did("sourced", somebody()) for _ in range(2)]
    headers = {"Content-Type": named, "Idempotency-Key": "it-takes-one"}
    assert here[1].post("/v1/interactions", content=lines(*sent), headers=headers).json()["accepted"] == 2


def test_an_array_is_answered_by_the_line_on_request_and_nothing_is_answered_by_a_summary(here: Here) -> None:
    _, http = here
    sent = [did("sourced", somebody()) for _ in range(3)]
    *results, last = answered(http.post("/v1/interactions", json=sent, headers={"Accept": NDJSON}))
    assert len(results) == last["summary"]["accepted"] == 3
    (nothing,) = answered(http.post("/v1/interactions", content=b"", headers=BOTH))
    assert nothing["summary"] == {"accepted": 0, "duplicates": 0, "rejected": 0, "last_seq": None}


def test_outcomes_come_while_the_request_is_still_being_sent(here: Here) -> None:
    """A raw connection: the first chunk's outcomes are read before the second is sent."""
    node, http = here
    first = lines(*(did("sourced", somebody()) for _ in range(500)))
    second = lines(did("sourced", somebody()))
    url = urlsplit(str(http.base_url))
    head = (
        f"POST /v1/interactions HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: {http.headers['authorization']}\r\n"
        f"Content-Type: {NDJSON}\r\nAccept: {NDJSON}\r\nContent-Length: {len(first) + len(second)}\r\n\r\n"
    )
    before = node.ledger.last_seq()
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=30) as connection:
        connection.sendall(head.encode() + first)
        got = b""
        while got.count(b'"accepted"') < 500:
            got += connection.recv(65_536)
        assert node.ledger.last_seq() == before + 500
        connection.sendall(second)
        while b"summary" not in got:
            got += connection.recv(65_536)
    assert b'"accepted":501' in got


def test_a_client_that_reads_nothing_before_it_has_sent_all_is_answered(here: Here) -> None:
    """What is to be sent back is far more than sockets hold: the outcomes wait in a file, and nobody waits for ever."""
    _, http = here
    bad = b"{\n" * 60_000
    *results, last = answered(http.post("/v1/interactions", content=iter([bad]), headers=BOTH))
    assert len(results) == last["summary"]["rejected"] == 60_000
    together = http.post("/v1/interactions", content=iter([bad]), headers={"Content-Type": NDJSON}).json()
    assert len(together["results"]) == together["rejected"] == 60_000


def test_a_client_that_never_reads_is_given_up_and_the_file_does_not_grow(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, http = here
    monkeypatch.setattr(streaming, "MOST_WAITING_BYTES", 100_000)
    monkeypatch.setattr(streaming, "TAKEN_WITHIN_S", 0.2)
    files = list[IO[bytes]]()

    def noting(**where: Path) -> IO[bytes]:
        files.append(cast(IO[bytes], TemporaryFile(**where)))  # noqa: SIM115 - closed by who asked
        return files[0]

    monkeypatch.setattr(streaming, "TemporaryFile", noting)
    url = urlsplit(str(http.base_url))
    head = (
        f"POST /v1/interactions HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: {http.headers['authorization']}\r\n"
        f"Content-Type: {NDJSON}\r\nAccept: {NDJSON}\r\nContent-Length: 2000000000\r\n\r\n"
    )
    sizes, got = [0], b""
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=0.1) as connection:
        connection.sendall(head.encode())
        while not (files and files[0].closed):
            with suppress(TimeoutError):
                connection.sendall(b"1\n" * 50_000)
            with suppress(IndexError, ValueError):  # it is not there yet, or was closed meanwhile
                sizes.append(os.fstat(files[0].fileno()).st_size)
        connection.settimeout(30)
        with suppress(ConnectionError):
            while piece := connection.recv(65_536):
                got += piece
    assert 100_000 <= max(sizes) < 250_000
    assert b'"status":"rejected"' in got
    assert b"summary" not in got


def test_who_reads_while_sending_may_go_on_for_ever(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded, what goes through is not."""
    _, http = here
    monkeypatch.setattr(streaming, "MOST_WAITING_BYTES", 100_000)
    *results, last = answered(http.post("/v1/interactions", content=b"1\n" * 20_000, headers=BOTH))
    assert len(results) == last["summary"]["rejected"] == 20_000


def test_outcomes_that_are_too_long_together_are_told_of_lines(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    _, http = here
    monkeypatch.setattr(outcomes, "MOST_TOGETHER_BYTES", 100_000)
    content = lines(did("sourced", somebody())) + b"1\n" * 2_000
    refused = http.post("/v1/interactions", content=content, headers={"Content-Type": NDJSON})
    assert "Accept: application/x-ndjson" in is_problem(refused, 413, "too-large")
    assert refused.json()["accepted"] == 1


def test_trouble_half_way_is_the_last_line_and_the_same_again_records_the_rest(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eventsourcing.persistence import OperationalError

    _, http = here
    content = lines(*(did("sourced", somebody()) for _ in range(1200)))
    recorded, calls = Recording.record, []

    def failing(self: Recording, *some: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise OperationalError("no connection")
        return recorded(self, *some, **named)

    monkeypatch.setattr(Recording, "record", failing)
    *results, last = answered(http.post("/v1/interactions", content=content, headers=BOTH))
    assert len(results) == last["summary"]["accepted"] == 500
    assert (last["error"]["status"], last["error"]["type"]) == (503, "urn:rapport:problem:ledger-unavailable")
    again = answered(http.post("/v1/interactions", content=content, headers=BOTH))[-1]["summary"]
    assert (again["duplicates"], again["accepted"]) == (500, 700)


def test_trouble_before_anything_was_recorded_is_a_problem_document(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eventsourcing.persistence import OperationalError

    def failing(*_some: Any, **_named: Any) -> Any:
        raise OperationalError("no connection")

    monkeypatch.setattr(Recording, "record", failing)
    refused = here[1].post("/v1/interactions", content=lines(did("sourced", somebody())), headers=BOTH)
    is_problem(refused, 503, "ledger-unavailable")
    assert refused.headers["retry-after"] == "1"


# ── limits ──


@pytest.mark.parametrize("path", ["/v1/pools", "/v1/sql", "/v1/compliance/requests"])
def test_a_body_that_is_too_long_is_413_whether_or_not_it_says_its_length(here: Here, path: str) -> None:
    _, http = here
    body = b'{"name": "' + b"x" * 1_100_000 + b'"}'
    said = {"Content-Type": "application/json"}
    for content in (body, iter([body[:600_000], body[600_000:]])):
        refused = http.post(path, content=content, headers=said)
        assert "bytes" in is_problem(refused, 413, "too-large")


def test_who_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    configure("error")
    settings = Settings(
        data=tmp_path / "data", port=0, rate_per_s=0.01, rate_burst=3, refused_per_s=0.01, refused_burst=2
    )
    with Node(settings) as node, served(node) as url, client_of(url, settings, Role.ANALYST) as http:
        answers = [http.get("/v1/status") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        is_problem(answers[-1], 429, "too-many-requests")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 100
        with client_of(url, settings, Role.SERVICE) as other:
            assert other.get("/v1/status").status_code == 200
            wrong = [
                other.get("/v1/status", headers={"Authorization": "Bearer x", "X-Forwarded-For": f"192.0.2.{n}"})
                for n in range(3)
            ]
        assert [answer.status_code for answer in wrong] == [401, 401, 429]
        unread = http.post("/v1/sql", content=b"{", headers={"Authorization": "", "Content-Type": "application/json"})
        is_problem(unread, 429, "too-many-requests")
        assert http.get("/healthz").status_code == 200


def test_recording_waits_while_the_views_are_too_far_behind_and_loses_nothing(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    node.wait_for(record(http, did("sourced", somebody())))
    before = node.ledger.last_seq()
    monkeypatch.setattr(node.settings, "max_behind_events", 5)
    monkeypatch.setattr(type(node.projector), "mirrored", property(lambda _: before - 6))
    refused = post(http, did("sourced", somebody()))
    assert "nothing of this request was recorded" in is_problem(refused, 503, "views-behind")
    assert refused.headers["retry-after"] == "10"
    assert node.ledger.last_seq() == before
    monkeypatch.undo()
    assert post(http, did("sourced", somebody())).status_code == 201
    assert get(http, "/v1/status")["ready"]


# ── by the page ──


def test_members_and_pools_come_by_the_page_without_gap_or_double(here: Here) -> None:
    node, http = here
    name, tag = somebody(), somebody().partition("@")[0]
    http.post("/v1/pools", json={"name": name, "rule": {"all": [{"tag": tag}]}}).raise_for_status()
    people = [somebody() for _ in range(7)]
    node.wait_for(record(http, *(d for p in people for d in (did("sourced", p), did("tagged", p, tag=tag)))))
    members = f"/v1/pools/{name}/members"
    for path, rows, key in ((members, "members", "canonical_id"), ("/v1/pools", "pools", "pool_id")):
        whole = get(http, path)
        assert whole["next"] is None
        found, asked = [], {"limit": 3, "as_of": whole["as_of"]}
        while True:
            page = get(http, path, **asked)
            found += [row[key] for row in page[rows]]
            if page["next"] is None:
                break
            assert len(page[rows]) == 3
            asked["after"] = page["next"]
        assert found == [row[key] for row in whole[rows]]
    assert get(http, members, limit=3)["count"] == 7
    is_problem(http.get("/v1/pools", params={"after": "nowhere"}), 422, "invalid-request")


def test_the_ranking_comes_by_the_page_without_gap_or_double(here: Here) -> None:
    node, http = here
    node.wait_for(record(http, *(did("sourced", somebody()) for _ in range(8))))
    whole = get(http, "/v1/engagement", limit=7)
    found, asked = [], {"limit": 2, "as_of": whole["as_of"]}
    for _ in range(3):
        page = get(http, "/v1/engagement", **asked)
        found += page["candidates"]
        asked["after"] = page["next"]
    assert found == whole["candidates"][:6]
    is_problem(http.get("/v1/engagement", params={"after": "0" * 32}), 422, "invalid-request")
