"""`make bench-ingest`: webhooks from the door to the ledger, the views and the feed, on a node in a process of its own.

python -m tests.benchmarks.ingest [--people N] [--seconds S] [--json FILE]

Deliveries are SendGrid's, signed beforehand, about people who are known. The one who sends, who reads the feed and who
looks at the views share the machine with the node.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

from consumers.webhooks.delivery import Delivery
from infra.settings import Settings
from infra.webhook_secrets import WebhookSecrets
from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.reporting import report
from tests.benchmarks.serving import Served, node, until
from tests.benchmarks.views_stages import Wrong
from tests.deliveries import of_sendgrid, sendgrid_event, sendgrid_secret

PEOPLE, SECONDS = 20_000, 30.0
PER_S = 300
TOGETHER = 20
"""Events in a delivery, where it is about how many; SendGrid sends them together, up to about a thousand."""
SENDERS = 8
LOOK_EVERY_S = 1.0
SETTLE_S = 120.0
AT = "2026-03-01T09:30:00Z"


class Answer(NamedTuple):
    """When a delivery was begun to be sent, and acknowledged (`time.monotonic`)."""

    sent_s: float
    taken_s: float


def measure(people: int, seconds: float) -> Iterator[Figure]:
    """Every figure as it becomes known. Raises Wrong when an acknowledged delivery is not in the ledger once."""
    with TemporaryDirectory(prefix="rapport-bench-") as folder:
        data = Path(folder) / "data"
        data.mkdir(mode=0o700)
        WebhookSecrets(Settings.embedded(data).webhooks_file).add("sendgrid", sendgrid_secret())
        with node(data) as served:
            token = json.loads((data / "tokens.json").read_text("utf-8"))["admin"]
            served.client.headers["Authorization"] = f"Bearer {token}"
            ids = _known(served, people)
            yield from _at_once(served, list(ids), seconds)
            yield from _paced(served, ids, token, seconds)
        yield served.memory("ingest")


def _known(served: Served, people: int) -> dict[str, str]:
    """The addresses of so many people, each with the record's id."""
    addresses = [f"person.{n}@example.com" for n in range(people)]
    sourced = [{"type": "sourced", "candidate": {"email": a}, "occurred_at": AT, "source": "fair"} for a in addresses]
    body = b"\n".join(json.dumps(record).encode() for record in sourced)
    answer = served.client.post("/v1/interactions", content=body, headers={"Content-Type": "application/x-ndjson"})
    results = answer.raise_for_status().json()["results"]
    _settled(served)
    return {address: result["candidate_id"] for address, result in zip(addresses, results, strict=True)}


def _at_once(served: Served, addresses: Sequence[str], seconds: float) -> Iterator[Figure]:
    """As fast as they are taken, for so long: what is acknowledged, and until all of it is in the ledger."""
    dice, before, over = random.Random(1), _events(served), time.monotonic() + seconds
    base = served.client.base_url

    def send() -> list[Answer]:
        connection, answers = http.client.HTTPConnection(base.host, base.port or 80), list[Answer]()
        while time.monotonic() < over:
            delivery = _delivery([dice.choice(addresses) for _ in range(TOGETHER)])
            answers.append(_sent(connection, delivery))
        return answers

    began = time.monotonic()
    with ThreadPoolExecutor(SENDERS) as pool:
        answers = [a for done in [pool.submit(send) for _ in range(SENDERS)] for a in done.result()]
    taken_s = max(a.taken_s for a in answers) - began
    _settled(served)
    recorded_s, events = time.monotonic() - began, _events(served) - before
    if events != len(answers) * TOGETHER:
        raise Wrong(f"{len(answers) * TOGETHER:,} events were acknowledged, and the ledger has {events:,} of them")
    times_ms = [(a.taken_s - a.sent_s) * 1_000 for a in answers]
    yield Figure(
        "acknowledged webhooks",
        len(answers) / taken_s,
        "deliveries/s",
        note=f"(of {TOGETHER} events, {SENDERS} senders)",
    )
    yield Figure("acknowledged within, p99", percentile(times_ms, 0.99), "ms", note="(as fast as they are taken)")
    yield Figure(
        "events sustained, door to ledger", events / recorded_s, "events/s", 1_000, "at least", f"({events:,})"
    )


def _paced(served: Served, ids: dict[str, str], token: str, seconds: float) -> Iterator[Figure]:
    """At a steady pace, an event each, each about somebody else: when it is in the ledger, the views and on the feed.

    Counted from when each was due to be sent: one that waits for a sender that waits counts as well.
    """
    count = min(round(PER_S * seconds), len(ids))
    chosen = random.Random(2).sample(sorted(ids), count)
    deliveries = [_delivery([address], "open") for address in chosen]
    base, start = served.client.base_url, time.monotonic() + 1.0
    told, shown, over = dict[str, tuple[float, int]](), list[tuple[float, int]](), threading.Event()
    watching = [
        threading.Thread(target=_listen, args=(base.host, base.port, token, told, count), daemon=True),
        threading.Thread(target=_look, args=(served, shown, over), daemon=True),
    ]
    for thread in watching:
        thread.start()

    def send(first: int) -> list[tuple[int, Answer]]:
        connection, answers = http.client.HTTPConnection(base.host, base.port or 80), list[tuple[int, Answer]]()
        for n in range(first, count, SENDERS):
            time.sleep(max(0.0, start + n / PER_S - time.monotonic()))
            answers.append((n, _sent(connection, deliveries[n])))
        return answers

    with ThreadPoolExecutor(SENDERS) as pool:
        answers = dict(a for done in [pool.submit(send, n) for n in range(SENDERS)] for a in done.result())
    _settled(served)
    watching[0].join(SETTLE_S)
    over.set()
    watching[1].join()
    if len(told) != count:
        raise Wrong(f"{count:,} webhooks were acknowledged, and the feed told of {len(told):,}")
    pace = (count - 1) / (max(a.sent_s for a in answers.values()) - min(a.sent_s for a in answers.values()))
    yield Figure("webhooks at a steady pace", pace, "deliveries/s", PER_S * 0.98, "at least", "(an event each)")
    answered, acknowledged, recorded, fed, seen = (list[float]() for _ in range(5))
    recorded_s = _recorded(served)
    for n, address in enumerate(chosen):
        at_s, seq = told[ids[address]]
        due_s = start + n / PER_S
        answered.append((answers[n].taken_s - answers[n].sent_s) * 1_000)
        acknowledged.append((answers[n].taken_s - due_s) * 1_000)
        recorded.append((recorded_s[seq] - due_s) * 1_000)
        fed.append((at_s - due_s) * 1_000)
        seen.append((next(s for s, checkpoint in shown if checkpoint >= seq) - due_s) * 1_000)
    for what, times_ms, p99_ms in (
        ("acknowledged, from when it was sent", answered, 20),
        ("acknowledged", acknowledged, None),
        ("webhook → ledger", recorded, None),
        ("webhook → feed", fed, 500),
        (f"webhook → views (looked at every {LOOK_EVERY_S * 1_000:.0f} ms)", seen, None),
    ):
        yield Figure(f"{what}, p50", percentile(times_ms, 0.5), "ms")
        yield Figure(f"{what}, p99", percentile(times_ms, 0.99), "ms", p99_ms)


def _recorded(served: Served) -> dict[int, float]:
    """When the server put each of these events into the ledger, by this machine's monotonic clock."""
    query = "select seq, epoch_us(recorded_at) as at_us from events where type = 'opened'"
    answer = served.client.post("/v1/sql", json={"query": query}).raise_for_status()
    apart_s = time.time() - time.monotonic()
    return {row["seq"]: row["at_us"] / 1e6 - apart_s for row in answer.json()}


def _delivery(addresses: Sequence[str], event: str = "delivered") -> Delivery:
    now = datetime.now(UTC)
    stamp = {"timestamp": int(now.timestamp())}
    return of_sendgrid([sendgrid_event(event, uuid4().hex, email=a, **stamp) for a in addresses], now)


def _sent(connection: http.client.HTTPConnection, delivery: Delivery) -> Answer:
    sent_s = time.monotonic()
    connection.request("POST", "/v1/webhooks/sendgrid", delivery.body, dict(delivery.headers))
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.HTTPStatus.ACCEPTED:
        raise Wrong(f"a delivery was answered {answer.status}")
    return Answer(sent_s, time.monotonic())


def _listen(host: str, port: int, token: str, told: dict[str, tuple[float, int]], count: int) -> None:
    """Reads the feed: of each person when their event was told, and where it stands in the ledger."""
    connection = http.client.HTTPConnection(host, port)
    connection.request("GET", "/v1/feed?types=candidate.opened", headers={"Authorization": f"Bearer {token}"})
    stream = connection.getresponse()
    while len(told) < count and (line := stream.readline()):
        if line.startswith(b"data:"):
            data: dict[str, Any] = json.loads(line[5:])["data"]
            told.setdefault(data["candidate"], (time.monotonic(), data["seq"]))
    connection.close()


def _look(served: Served, shown: list[tuple[float, int]], over: threading.Event) -> None:
    while True:
        is_last = over.wait(LOOK_EVERY_S)
        checkpoint = _status(served)["views"]["checkpoint"]
        shown.append((time.monotonic(), checkpoint))
        if is_last:
            return


def _status(served: Served) -> dict[str, Any]:
    found: dict[str, Any] = served.get("/v1/status").json()
    return found


def _events(served: Served) -> int:
    return int(_status(served)["ledger"]["messages"])


def _settled(served: Served) -> None:
    """Returns when nothing waits, neither in the queue nor before the views."""

    def nothing_waits() -> bool:
        status = _status(served)
        return not status["ingest"]["waiting"] and not status["views"]["lag_events"]

    until(nothing_waits, "deliveries or views do not come to an end", SETTLE_S)


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=PEOPLE, help="how many are known")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for so long webhooks are sent, twice")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON too")
    chosen = parser.parse_args()
    report(measure(chosen.people, chosen.seconds), chosen.json)


if __name__ == "__main__":
    main()
