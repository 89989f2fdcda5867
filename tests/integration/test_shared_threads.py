"""What takes long is asked for by many at once, and everybody else goes on being answered all the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import duckdb
import httpx
import pytest

from api.cli.client import client_of, served
from api.http import engagement, parameters, threads
from api.node import Node
from domain.engagement import V1
from domain.event import utc_now
from infra.feed import Extent
from infra.logging import configure
from infra.settings import Settings
from projections.one_at_a_time import MOST_WAITING
from tests.deliveries import of_sendgrid, sendgrid_event, sendgrid_secret
from tests.integration.test_http import did, get, is_problem, record, somebody, until
from tests.provider import AUDIENCE, Provider, provider

MANY = 60
"""More than the threads that synchronous routes share, which are 40."""

Here = tuple[Node, httpx.Client, Provider]
Ask = Callable[[httpx.Client], httpx.Response]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    configure("error")
    with provider() as idp:
        data = tmp_path_factory.mktemp("threads") / "data"
        settings = Settings(data=data, port=0, oidc_issuer=idp.url, oidc_audience=AUDIENCE)
        with Node(settings) as node, served(node) as url, client_of(url, settings) as http:
            node.intake.secrets.add("sendgrid", sendgrid_secret())
            http.timeout = 60.0
            record(http, did("sourced", somebody()))
            node.wait_for(record(http, did("sourced", somebody())))
            yield node, http, idp


@contextmanager
def many(ask: Ask, http: httpx.Client) -> Iterator[list[Future[httpx.Response]]]:
    """So many ask at once; all are answered when the block has ended."""
    limits = httpx.Limits(max_connections=None)
    with (
        httpx.Client(base_url=http.base_url, headers=http.headers, timeout=60.0, limits=limits, trust_env=False) as own,
        ThreadPoolExecutor(MANY) as callers,
    ):
        yield [callers.submit(ask, own) for _ in range(MANY)]


def then(node: Node) -> str:
    with node.projector.cursor() as cursor:
        found: datetime = cursor.execute("select min(recorded_at) from pii.events").fetchall()[0][0]
    return found.astimezone(UTC).isoformat()


def computed_over_everybody(node: Node) -> dict[str, Ask]:
    model = V1.replace('version = "', 'version = "other ')
    return {
        "ranking": lambda http: http.get("/v1/engagement", params={"known_at": then(node)}),
        "pools": lambda http: http.get("/v1/pools", params={"known_at": then(node)}),
        "what if": lambda http: http.post("/v1/engagement/what-if", json={"model": model}),
    }


@pytest.mark.parametrize("what", ["ranking", "pools", "what if"])
def test_what_is_computed_over_everybody_keeps_nobody_from_being_answered(here: Here, what: str) -> None:
    node, http, _ = here
    node.projector.known.close()
    ask = computed_over_everybody(node)[what]
    with node.projector.known.computing.turn():  # somebody's, that takes long
        with many(ask, http) as asked:
            until(lambda: sum(one.done() for one in asked) == MANY - 1 - MOST_WAITING)
            assert get(http, "/v1/status")["ready"]
            refused = [one.result() for one in asked if one.done()]
            node.projector.known.computing._turn.release()
        node.projector.known.computing._turn.acquire()
    for answer in refused:
        assert "try again" in is_problem(answer, 503, "queries-busy")
        assert answer.headers["retry-after"]
    assert [one.result().status_code for one in asked if one.result() not in refused] == [200] * (1 + MOST_WAITING)


@pytest.mark.parametrize("what", ["ranking", "what if"])
def test_who_has_waited_for_a_while_is_asked_to_come_again(
    here: Here, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    node, http, _ = here
    node.projector.known.close()
    for module in (parameters, engagement):
        monkeypatch.setattr(module, "WAIT_S", 0.01)
    ask = computed_over_everybody(node)[what]
    with node.projector.known.computing.turn():
        is_problem(ask(http), 503, "queries-busy")
    assert ask(http).status_code == 200


@contextmanager
def all_threads_held(node: Node, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those that synchronous routes share, by pages of a feed whose server does not answer."""
    go_on, inside = threading.Event(), threading.Semaphore(0)
    extent = node.feed.extent

    def waits() -> Extent:
        inside.release()
        go_on.wait(60)
        return extent()

    with monkeypatch.context() as patch:
        patch.setattr(node.feed, "extent", waits)
        with many(lambda own: own.get("/v1/feed/events"), http) as asked:
            try:
                assert all(inside.acquire(timeout=30) for _ in range(40))
                yield
                assert not any(one.done() for one in asked)
            finally:
                go_on.set()


def test_deliveries_and_tokens_are_verified_while_all_other_threads_are_held(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http, idp = here
    long = [sendgrid_event(id_=f"{n}", email="ada@example.com") for n in range(400)]
    delivery = of_sendgrid(long, utc_now())
    assert len(delivery.body) > 100_000
    service = {"Authorization": f"Bearer {idp.token(roles=['service'])}"}
    with all_threads_held(node, http, monkeypatch):
        taken = http.post("/v1/webhooks/sendgrid", content=delivery.body, headers=dict(delivery.headers))
        assert taken.status_code == 202, taken.text
        recorded = http.post("/v1/interactions", json=did("sourced", somebody()), headers=service)
        assert recorded.status_code == 201, recorded.text


def test_whoever_watches_over_a_node_is_answered_while_all_other_threads_are_held(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http, _ = here
    with all_threads_held(node, http, monkeypatch):
        assert get(http, "/readyz")["status"] == "ready"
        assert "rapport_node_ready 1.0" in http.get("/metrics").text
        assert http.get("/healthz").status_code == 200


# ── snapshots ──


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    return list(map(httpx.Response.json, (httpx.Response(200, content=line) for line in answer.iter_lines())))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (duckdb.ConnectionException("closed"), "being opened again"),
        (duckdb.IOException("a disk"), "IOException"),
        (MemoryError(), "a fault in Rapport (MemoryError)"),
    ],
)
def test_a_snapshot_that_cannot_be_begun_ends_its_stream_with_the_reason(
    here: Here, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    node, http, _ = here

    def cursor() -> duckdb.DuckDBPyConnection:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(node.publisher, "_cursor", cursor)
        (last,) = lines(http.post("/v1/snapshots"))
    assert said in last["error"]
    assert "snapshot" in lines(http.post("/v1/snapshots"))[-1]


@pytest.mark.parametrize(
    "ask",
    [lambda http: http.post("/v1/snapshots"), lambda http: http.get("/v1/snapshot.duckdb", params={"fresh": True})],
)
def test_who_waits_for_a_snapshot_holds_no_thread_and_few_may(here: Here, ask: Ask) -> None:
    node, http, _ = here
    with node.publisher._lock:  # one is being written
        with many(ask, http) as asked:
            until(lambda: sum(one.done() for one in asked) == MANY - 1 - threads.MOST_WAITING)
            assert get(http, "/v1/status")["ready"]
            refused = [one.result() for one in asked if one.done()]
            assert sum(thread.name == "rapport-snapshot" for thread in threading.enumerate()) == 0
            node.publisher._lock.release()
        node.publisher._lock.acquire()
    for answer in refused:
        is_problem(answer, 503, "snapshots-busy")
        assert answer.headers["retry-after"]
    assert [one.result().status_code for one in asked].count(200) == 1 + threads.MOST_WAITING
