"""What is said against contact is neither lost nor got around over HTTP, and other sites and names stay out."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.integration.test_http import SELF, did, get, is_problem, post, record, running, somebody


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(tmp_path_factory.mktemp("door") / "data") as (_, client):
        yield client


def ahead(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def contactable(http: httpx.Client, who: str, seq: int) -> bool:
    route = f"/v1/compliance/candidates/{who}/contactability"
    answer: bool = get(http, route, channel="email", min_seq=seq)["contactable"]
    return answer


def known(http: httpx.Client) -> str:
    who = somebody()
    record(http, did("sourced", who), did("basis_recorded", who, basis="legitimate_interest"))
    return who


@pytest.mark.parametrize("reused", ["emailed", "opted_out"])
def test_an_opt_out_under_an_id_that_was_used_before_is_recorded(http: httpx.Client, reused: str) -> None:
    """Adapters reuse message ids; an opt-out must not be taken for what had the id before."""
    who = known(http)
    record(http, did(reused, who, id="msg-1"), did("opted_in", who, "2026-04-01T00:00:00Z", actor=SELF))
    seq = record(http, did("opted_out", who, "2026-04-02T00:00:00Z", id="msg-1"))
    assert not contactable(http, who, seq)


def test_an_opt_out_dated_ahead_holds_at_once(http: httpx.Client) -> None:
    who = known(http)
    seq = record(http, did("opted_out", who, ahead(2)))
    assert not contactable(http, who, seq)
    is_problem(post(http, did("emailed", who, ahead(0))), 409, "not-contactable")


def test_an_email_dated_ahead_needs_standing_then_and_now(http: httpx.Client) -> None:
    who = known(http)
    record(http, did("basis_recorded", who, basis="consent"))
    is_problem(post(http, did("emailed", who, ahead(1))), 409, "not-contactable")
    record(http, did("consent_given", who, expires_at=ahead(3), actor=SELF))
    record(http, did("emailed", who, ahead(1)))
    is_problem(post(http, did("emailed", who, ahead(4))), 409, "not-contactable")


def test_an_opt_in_dated_ahead_does_not_undo_a_later_opt_out(http: httpx.Client) -> None:
    """A local time sent as UTC; the click on unsubscribe came before the opt-in claims to have been."""
    who = known(http)
    record(http, did("opted_out", who), did("opted_in", who, ahead(3), actor=SELF))
    last = record(http, did("opted_out", who, ahead(2)))
    assert not contactable(http, who, last)
    is_problem(post(http, did("emailed", who, ahead(4))), 409, "not-contactable")


def test_an_opt_out_for_a_purpose_written_otherwise_counts(http: httpx.Client) -> None:
    who = known(http)
    assert not contactable(http, who, record(http, did("opted_out", who, purpose=" Recruiting ")))


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_a_page_of_another_site_cannot_write(http: httpx.Client, headers: dict[str, str]) -> None:
    answer = http.post("/v1/interactions", json=did("sourced", somebody()), headers=headers)
    is_problem(answer, 403, "cross-site")


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://a]b", "http://[v1.x]"])
def test_what_is_no_origin_is_another_site(http: httpx.Client, origin: str) -> None:
    """`urlsplit` raises at these."""
    answer = http.post("/v1/interactions", json=did("sourced", somebody()), headers={"Origin": origin})
    is_problem(answer, 403, "cross-site")
    assert http.get("/healthz", headers={"Origin": origin}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/interactions", "/v1/webhooks/sendgrid", "/healthz"])
def test_a_request_with_two_lengths_is_refused_and_its_connection_ends(http: httpx.Client, path: str) -> None:
    """What lies before the node may go by the other, and take what comes behind for somebody's next request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {http.base_url.netloc.decode()}\r\nContent-Type: application/x-ndjson\r\n"
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    with socket.create_connection((http.base_url.host, http.base_url.port or 0), timeout=30) as there:
        there.sendall(head.encode())
        answer = b"".join(iter(lambda: there.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "a@127.0.0.1", "[", ""]
)
def test_a_node_is_not_asked_by_a_name_of_somebody_elses(http: httpx.Client, host: str) -> None:
    is_problem(http.get("/healthz", headers={"Host": host}), 400, "foreign-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8642", "[::1]:8642", "[::1]"])
def test_a_node_is_asked_by_every_name_of_this_machine(http: httpx.Client, host: str) -> None:
    assert http.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_misspelt_parameter_does_not_get_todays_answer(http: httpx.Client) -> None:
    who = known(http)
    route = f"/v1/compliance/candidates/{who}/contactability"
    answer = http.get(route, params={"channel": "email", "asof": "2020-01-01T00:00:00Z"})
    assert "as_of" in is_problem(answer, 422, "unknown-parameter")


@pytest.mark.parametrize("campaign", ["ada@example.com", "cs(at)x.com", "call +49 30 123456"])
def test_a_label_takes_no_address_and_no_phone_number(http: httpx.Client, campaign: str) -> None:
    """Labels are stored in the clear, where no erasure reaches."""
    is_problem(post(http, did("emailed", known(http), campaign=campaign), history=True), 422, "invalid-interaction")


def test_files_are_for_their_owner_only_whatever_the_folders_mode(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    with running(folder) as (_, http):
        record(http, did("sourced", somebody()))
    modes = {path.name: path.stat().st_mode & 0o077 for path in folder.rglob("*") if path.is_file()}
    assert modes["views.duckdb"] == 0
    assert [name for name, mode in modes.items() if mode & 0o007] == []
