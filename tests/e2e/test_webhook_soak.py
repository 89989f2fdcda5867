"""Webhooks in and the feed out, while server and node are killed: all that was acknowledged, once, for everybody alike.

By default a dozen seconds; under RAPPORT_SOAK ten minutes at 300 webhooks a second, a kill of the server every 30 s.
"""

from __future__ import annotations

import contextlib
import heapq
import http.client
import json
import os
import queue
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from consumers.relay import fact_of
from consumers.webhooks.delivery import Delivery
from consumers.webhooks.registry import PROVIDERS
from domain.published import messages
from domain.published_schemas import VERSION
from infra.jetstream import Connection, LedgerReader, declare_stream
from infra.jetstream.nkey import Nkey
from infra.nats_server import EmbeddedServer
from tests.cluster import free_ports
from tests.deliveries import (
    MAILGUN_SECRET,
    POSTMARK_SECRET,
    mailgun_event,
    of_mailgun,
    of_postmark,
    of_sendgrid,
    postmark_event,
    sendgrid_event,
    sendgrid_secret,
)
from tests.e2e.harness import ok, stop, until, up
from tests.subscriber import running_as

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
SECONDS, PER_S = (600.0, 300) if SOAK else (12.0, 60)
SERVER_LIVES_S = 30.0 if SOAK else 5.0
NODE_LIVES_S = (15.0, 90.0) if SOAK else (5.0, 8.0)
PEOPLE = 2_000
SENDERS = 12
REPEATED = 0.05
"""This part of what was acknowledged is sent again all the same, as providers do."""
DRAIN_S = 900.0 if SOAK else 90.0
SECRETS = {"sendgrid": sendgrid_secret(), "postmark": POSTMARK_SECRET, "mailgun": MAILGUN_SECRET}
Told = tuple[str, str]
"""Type and id of a message."""


def made(n: int) -> tuple[str, Delivery]:
    """The n-th delivery, about somebody of a few thousand; each is a happening of its own."""
    now, who = datetime.now(UTC), f"person.{n * 7919 % PEOPLE}@example.com"
    match n % 4:
        case 0:
            return "sendgrid", of_sendgrid([sendgrid_event("open", f"{n}", who, timestamp=int(now.timestamp()))], now)
        case 1:
            return "postmark", of_postmark(postmark_event("Click", Recipient=who, MessageID=str(uuid4())), at=now)
        case 2:
            return "mailgun", of_mailgun(mailgun_event("opened", f"{n}", recipient=who), now, token=uuid4().hex)
    gone = f"gone.{n}@example.com"
    return "sendgrid", of_sendgrid([sendgrid_event("unsubscribe", f"{n}", gone, timestamp=int(now.timestamp()))], now)


def interaction_of(provider: str, delivery: Delivery) -> str:
    """The id of the one interaction that the delivery tells of."""
    (happening,) = PROVIDERS[provider].read(delivery)
    assert happening.record is not None
    return str(happening.record["id"])


@dataclass
class Sending:
    """Deliveries at a steady pace, whatever becomes of them; what is not acknowledged is sent again."""

    port: int
    acknowledged: dict[str, float] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    failures: int = 0
    _due: list[tuple[float, int, str, Delivery]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _made: int = 0
    _under_way: int = 0

    def run(self) -> None:
        """Returns when everything is acknowledged."""
        self._start = time.monotonic()
        threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + DRAIN_S)
        assert not any(thread.is_alive() for thread in threads), (len(self._due), self.failures)

    def _send(self) -> None:
        dice = random.Random(threading.get_ident())
        connection = self._connection()
        while (turn := self._next()) is not None:
            n, provider, delivery = turn
            if delivery is None:
                provider, delivery = made(n)
            try:
                connection.request("POST", f"/v1/webhooks/{provider}", delivery.body, dict(delivery.headers))
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                connection, status = self._connection(), 0
            with self._lock:
                self._under_way -= 1
                if 200 <= status < 300:
                    first = self.acknowledged.setdefault(interaction_of(provider, delivery), time.monotonic())
                    if time.monotonic() - first < 1.0 and dice.random() < REPEATED:
                        self._again(dice.uniform(1.0, 20.0 if SOAK else 4.0), n, provider, delivery)
                elif status in (0, 429, 503):
                    self.failures += 1
                    self._again(dice.uniform(0.5, 3.0), n, provider, delivery)
                else:
                    self.refused.add(status)

    def _again(self, after_s: float, n: int, provider: str, delivery: Delivery) -> None:
        heapq.heappush(self._due, (time.monotonic() + after_s, n, provider, delivery))

    def _next(self) -> tuple[int, str, Delivery | None] | None:
        """What is to be sent now, once it is time; None when nothing is left."""
        while True:
            with self._lock:
                now, fresh_at = time.monotonic(), self._start + self._made / PER_S
                is_over = self._made >= SECONDS * PER_S
                if self._due and self._due[0][0] <= now:
                    _, n, provider, delivery = heapq.heappop(self._due)
                    self._under_way += 1
                    return n, provider, delivery
                if not is_over and fresh_at <= now:
                    self._made += 1
                    self._under_way += 1
                    return self._made, "", None
                if is_over and not self._due and not self._under_way:
                    return None
                next_at = min([at for at, *_ in self._due[:1]] + ([] if is_over else [fresh_at]), default=now + 0.05)
            time.sleep(min(max(next_at - now, 0.001), 0.05))

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)


@contextmanager
def killed_again_and_again(kill: Callable[[], None], lives_s: Callable[[], float]) -> Iterator[list[float]]:
    """In the block, while deliveries are made, something is killed whenever it has lived for so long; when that was."""
    over, killed, until_s = threading.Event(), list[float](), time.monotonic() + SECONDS

    def killing() -> None:
        while not over.wait(lives_s()) and time.monotonic() < until_s:
            kill()
            killed.append(time.monotonic())

    thread = threading.Thread(target=killing)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


@dataclass
class Node:
    """A node in a process of its own, begun again by whoever watches over it whenever it is gone."""

    data: Path
    port: int
    settings: dict[str, str]
    over: threading.Event = field(default_factory=threading.Event)
    client: httpx.Client | None = None
    process: Any = None
    starts: int = 0

    def keep(self) -> None:
        """Until `over`; then it is stopped as by its operator."""
        while not self.over.is_set():
            try:
                with up(self.data, "--port", str(self.port), **self.settings) as (node, http):
                    self.starts += 1
                    self.client, self.process = http, node
                    while node.poll() is None and not self.over.wait(0.05):
                        pass
                    if node.poll() is None:
                        stop(node, signal.SIGTERM)
            except AssertionError:  # it could not start, its server being gone
                if self.over.is_set():
                    raise
                time.sleep(0.5)

    def kill(self) -> None:
        """kill -9, of the node alone."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)

    def get(self, path: str) -> Any:
        """The answer; None while there is none."""
        try:
            answer = self.client.get(path) if self.client is not None else None
        except (httpx.HTTPError, RuntimeError):
            return None
        return answer.json() if answer is not None and answer.is_success else None


def pull(made: Mapping[str, str], folder: Path, over: threading.Event) -> list[Told]:
    """What the program that `subscribers add` prints has been told, in order. It is begun anew when it ends; what it
    was told before is passed over by id."""
    found: dict[str, Told] = {}
    while not over.wait(0.2):
        with running_as(made, folder) as lines:
            line: str | None = ""
            while line is not None and not over.is_set():
                with contextlib.suppress(queue.Empty):
                    line = lines.get(timeout=0.2)
                    if line is not None:
                        _, type_, id_ = line.split()
                        found.setdefault(id_, (type_, id_))
    return list(found.values())


def listen(port: int, token: str, over: threading.Event) -> list[Told]:
    """What came as server-sent events; a stream that broke goes on behind the last one. Nothing is passed over."""
    found, last = list[Told](), "0"
    while not over.is_set():
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
            connection.request("GET", "/v1/feed", headers={"Authorization": f"Bearer {token}", "Last-Event-ID": last})
            stream = connection.getresponse()
            position = last
            while stream.status == http.HTTPStatus.OK and not over.is_set() and (line := stream.readline()):
                if line.startswith(b"id: "):
                    position = line[4:].strip().decode()
                elif line.startswith(b"data: ") and line.endswith(b"\n"):
                    event = json.loads(line[6:])
                    found.append((event["type"], event["id"]))
                elif line == b"\n":
                    last = position
            connection.close()
        over.wait(0.2)
    return found


def test_all_that_was_acknowledged_is_recorded_once_and_told_alike_whatever_is_killed(tmp_path: Path) -> None:
    """Whoever pulls over NATS and whoever listens over HTTP end with the same list, which is what the ledger holds."""
    data, dice = tmp_path / "data", random.Random(int(os.environ.get("RAPPORT_SEED", "6")))
    data.mkdir(mode=0o700)
    secrets = data / "webhooks.toml"
    secrets.write_text("".join(f"[{name}]\nsecrets = [{json.dumps(secret)}]\n" for name, secret in SECRETS.items()))
    secrets.chmod(0o600)
    nats_port, port = free_ports(2)
    server, over = EmbeddedServer(tmp_path / "nats", port=nats_port), threading.Event()
    server.start()
    settings = {
        "RAPPORT_NATS_URL": server.url,
        "RAPPORT_NATS_SYSTEM_URL": server.system_url,
        "RAPPORT_LOG_LEVEL": "error",
    }
    node, sending, lists = Node(data, port, settings), Sending(port), dict[str, list[Told]]()
    keeping = threading.Thread(target=node.keep)
    keeping.start()

    def kill_server() -> None:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        server.stop()
        server.start()

    try:
        until(lambda: node.get("/readyz"))
        assert node.client is not None
        added = node.client.post("/v1/subscribers", json={"name": "soak", "after": 0}).json()
        added["servers"] = f"nats://127.0.0.1:{nats_port}"
        server.admit({"soak": Nkey.read(added["secret"]).public})
        token = json.loads((data / "tokens.json").read_text("utf-8"))["service"]
        following = [
            threading.Thread(target=lambda: lists.update(nats=pull(added, tmp_path, over))),
            threading.Thread(target=lambda: lists.update(sse=listen(port, token, over))),
        ]
        for thread in following:
            thread.start()
        with (
            killed_again_and_again(kill_server, lambda: SERVER_LIVES_S) as servers,
            killed_again_and_again(node.kill, lambda: dice.uniform(*NODE_LIVES_S)) as nodes,
        ):
            sending.run()

        def is_quiet() -> bool:
            status = node.get("/v1/status")
            return (
                status is not None
                and not status["ingest"]["waiting"]
                and not status["views"]["lag_events"]
                and not status["feed"]["lag_events"]
            )

        until(is_quiet, DRAIN_S)
        wait_until_still(node)
        quiet = len(whole_feed(node))
        until(lambda: node.get("/v1/status")["feed"]["subscribers"][0]["lag"] == 0, DRAIN_S)
        time.sleep(1.0)  # what the server has handed out comes to its readers
        recorded = Counter(recorded_by(node.client))
        ok(data, "verify", **settings)  # exit code 0: ledger, mirror, tree and checkpoint agree
        over.set()
        for thread in following:
            thread.join()
        feed = whole_feed(node)  # with a checkpoint that was signed meanwhile
    finally:
        over.set()
        node.over.set()
        keeping.join()
        expected = list(told_by_ledger(server))
        server.stop()

    assert servers, "the server was killed"
    assert nodes, "the node was killed"
    assert sending.refused == set()
    assert len(sending.acknowledged) == round(SECONDS * PER_S)
    assert recorded == dict.fromkeys(sending.acknowledged, 1)
    assert len({id_ for _, id_ in feed}) == len(feed)
    for told in lists["sse"], lists["nats"]:
        assert len(told) >= quiet
        assert told == feed[: len(told)]
    assert [told for told in feed if is_of_the_ledger(told)] == expected
    print(
        f"{len(sending.acknowledged):,} acknowledged, {sending.failures:,} times sent again; server killed "
        f"{len(servers)} times, node {len(nodes)}; {len(feed):,} messages on the feed"
    )


def is_of_the_ledger(told: Told) -> bool:
    """Whether an event gave the message, and nothing that is derived or signed."""
    return told[1].partition("/")[0].isdecimal()


def told_by_ledger(server: EmbeddedServer) -> Iterator[Told]:
    """What the ledger's events give, read from the ledger itself."""
    with Connection(server.url) as connection:
        for batch in LedgerReader(connection, declare_stream(connection)).read_batches():
            for message in batch:
                if (fact := fact_of(message)) is not None:
                    yield from ((f"rapport.{told.type}.v{VERSION}", told.id or "") for told in messages(fact))


def recorded_by(http: httpx.Client) -> Iterator[str]:
    """The id of the interaction of each event, as the mirror has them, which `verify` compares with the ledger."""
    after = 0
    query = "select seq, interaction from pii.events where seq > {} and interaction is not null order by seq limit 5000"
    while rows := http.post("/v1/sql", json={"query": query.format(after)}).raise_for_status().json():
        yield from (row["interaction"] for row in rows)
        after = rows[-1]["seq"]


def whole_feed(node: Node) -> list[Told]:
    """The feed page by page."""
    found, after = list[Told](), 0
    while True:
        page = node.get(f"/v1/feed/events?after={after}&limit=1000")
        assert page is not None
        found += [(one["event"]["type"], one["event"]["id"]) for one in page["events"]]
        if page["next"] == after:
            return found
        after = page["next"]


def wait_until_still(node: Node) -> None:
    """Returns when nothing has come onto the feed for some seconds."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 4.0:
        status = node.get("/v1/feed/events?after=0&limit=1")
        if status is not None and status["last"] != last:
            last, since = status["last"], time.monotonic()
        time.sleep(0.2)
