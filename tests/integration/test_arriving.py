"""Bodies that do not end, at the door that is open to anybody: they keep nobody out and take no room."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from api.http import app
from api.http.arriving import Arriving, NotWhole
from api.node import Node
from tests.deliveries import POSTMARK_SECRET, TOPIC, of_postmark, postmark_event
from tests.integration.test_http import running

MOST_BYTES = 8_000_000
WITHIN_S = 2.0


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Arriving]]:
    arriving = Arriving(MOST_BYTES, WITHIN_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "Arriving", lambda: arriving)
        with running(tmp_path_factory.mktemp("arriving")) as (node, http):
            take_webhooks(node)
            yield http, arriving


def take_webhooks(node: Node) -> None:
    node.intake.secrets.add("postmark", POSTMARK_SECRET)
    node.intake.secrets.add("ses", TOPIC)


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


def begun(http: httpx.Client, path: str, says_bytes: int, sent: bytes, *headers: str) -> closing[socket.socket]:
    """A request whose body does not come to its end."""
    there = socket.create_connection((http.base_url.host, http.base_url.port or 0), timeout=30)
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {says_bytes}", *headers]
    with suppress(ConnectionError):  # it was given up while it was sent
        there.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
    return closing(there)


def delivered(http: httpx.Client) -> int:
    """The answer to a delivery as its provider sends it."""
    delivery = of_postmark(postmark_event(MessageID=uuid4().hex))
    headers = {"authorization": "", **delivery.headers}
    return http.post("/v1/webhooks/postmark", content=delivery.body, headers=headers).status_code


def status(there: socket.socket) -> int:
    return int(there.recv(1_000).split()[1])


def test_bodies_that_are_half_sent_keep_no_delivery_out_and_are_given_up(here: tuple[httpx.Client, Arriving]) -> None:
    http, arriving = here
    with ExitStack() as stack:
        halves = [stack.enter_context(begun(http, "/v1/webhooks/postmark", 1_000, b"{")) for _ in range(300)]
        until(lambda: len(arriving._coming) == len(halves))
        assert delivered(http) == 200
        assert {status(half) for half in halves[:3]} == {408}
        while halves[0].recv(1_000):
            pass  # which ends, for the connection is closed
    until(lambda: not arriving._coming)
    assert arriving.held_bytes == 0


def test_bodies_that_are_long_take_no_more_room_than_there_is_and_give_way(
    here: tuple[httpx.Client, Arriving],
) -> None:
    http, arriving = here
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(begun(http, "/v1/webhooks/postmark", 3_999_000, b"x" * 3_900_000))
            assert arriving.held_bytes <= MOST_BYTES
        until(lambda: arriving.held_bytes > MOST_BYTES // 2)
        assert delivered(http) == 200
    until(lambda: arriving.held_bytes == 0)


def test_what_a_provider_never_sends_is_not_read(here: tuple[httpx.Client, Arriving]) -> None:
    http, _ = here
    assert http.post("/v1/webhooks/ses", content=b"x" * 1_700_000).status_code == 413
    with begun(http, "/v1/webhooks/mailgun", 3_000_000, b"{") as half:
        assert status(half) == 404, "nobody takes webhooks of it here"


def test_the_longest_body_gives_way_and_one_that_is_longest_itself_is_not_taken() -> None:
    async def pieces(*given: bytes | asyncio.Event) -> AsyncIterator[bytes]:
        for piece in given:
            if isinstance(piece, bytes):
                yield piece
            else:
                await piece.wait()

    async def taken(arriving: Arriving, *given: bytes | asyncio.Event) -> int:
        try:
            async with arriving.body(pieces(*given), 100) as body:
                assert body == b"".join(g for g in given if isinstance(g, bytes))
                return 200
        except NotWhole as error:
            return error.status

    async def scene() -> None:
        arriving, never = Arriving(most_bytes=100, within_s=30), asyncio.Event()
        long = asyncio.create_task(taken(arriving, b"x" * 60, never))
        short = asyncio.create_task(taken(arriving, b"x" * 30, never))
        await asyncio.sleep(0)
        assert arriving.held_bytes == 90
        assert await taken(arriving, b"x" * 20) == 200
        assert (await long, arriving.held_bytes) == (503, 30)
        assert await taken(arriving, b"x" * 40, b"x" * 31) == 503, "it would itself be the longest"
        assert await taken(arriving, b"x" * 101) == 413
        async with arriving.body(pieces(b"x" * 70), 100):  # in use: none that comes takes its room
            assert await taken(arriving, b"x" * 20) == 200
            assert (await short, arriving.held_bytes) == (503, 70)
            assert await taken(arriving, b"x" * 31) == 503
        assert arriving.held_bytes == 0

    asyncio.run(scene())


def test_who_hangs_up_in_the_middle_of_a_body_is_no_fault(tmp_path: Path) -> None:
    logged: list[logging.LogRecord] = []
    noting = logging.Handler()
    noting.emit = logged.append  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    with running(tmp_path) as (node, http):
        for logger in loggers:
            logger.addHandler(noting)
        take_webhooks(node)
        token = f"Authorization: {http.headers['authorization']}"
        for path, *headers in (
            ("/v1/webhooks/postmark",),
            ("/v1/interactions", token),
            ("/v1/interactions", token, "Content-Type: application/x-ndjson", "Accept: application/x-ndjson"),
            ("/v1/pools", token, "Content-Type: application/json"),
            ("/v1/pools", token, "Content-Type: application/json", "Idempotency-Key: once"),
        ):
            begun(http, path, 1_000, b"{}\n", *headers).thing.close()
        assert http.get("/healthz").is_success
    for logger in loggers:  # by now every request has ended
        logger.removeHandler(noting)
    assert [record.getMessage() for record in logged] == []
