"""Webhooks of a node in a process of its own: killed between answer and ledger; set up from the command line."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx

from api.cli import dead_letters
from consumers.webhooks.delivery import Delivery
from tests.deliveries import of_sendgrid, sendgrid_event, sendgrid_secret
from tests.e2e.harness import complaint, ok, stop, until, up

SOAK = bool(os.environ.get("RAPPORT_SOAK"))
ROUNDS = 10 if SOAK else 1
SENDERS = 4


def taken_by(data: Path, **secrets: str) -> None:
    """The file of secrets as an operator writes it."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / "webhooks.toml"
    path.write_text("".join(f"[{name}]\nsecrets = [{json.dumps(secret)}]\n" for name, secret in secrets.items()))
    path.chmod(0o600)


def made() -> Delivery:
    return of_sendgrid([sendgrid_event(id_=uuid4().hex, email=f"{uuid4().hex}@example.com")], datetime.now(UTC))


def send(http: httpx.Client, delivery: Delivery) -> int:
    headers = {**delivery.headers, "authorization": ""}
    return http.post("/v1/webhooks/sendgrid", content=delivery.body, headers=headers).status_code


def recorded(http: httpx.Client) -> int:
    """How many events there are, once nothing waits."""
    until(lambda: http.get("/v1/status").json()["ingest"]["waiting"] == 0)
    found: int = http.get("/v1/status").json()["ledger"]["last_seq"]
    return found


def test_what_was_answered_is_recorded_once_although_the_node_was_killed(tmp_path: Path) -> None:
    """Killed while providers send: what had its answer the next node records, and what had none is sent again."""
    data, chance = tmp_path / "data", random.Random(3)
    taken_by(data, sendgrid=sendgrid_secret())
    sent: list[Delivery] = []
    unanswered: list[Delivery] = []

    def sending(url: httpx.URL, enough: int) -> None:
        with httpx.Client(base_url=url, timeout=10.0, trust_env=False) as http:
            for _ in range(enough):
                delivery = made()
                sent.append(delivery)
                unanswered.append(delivery)
                try:
                    assert send(http, delivery) == 202
                except httpx.TransportError:
                    return
                unanswered.remove(delivery)

    for _ in range(ROUNDS):
        with up(data) as (node, http):
            threads = [threading.Thread(target=sending, args=(http.base_url, 100_000)) for _ in range(SENDERS)]
            for thread in threads:
                thread.start()
            goal = len(sent) + chance.randrange(60, 200)
            until(lambda enough=goal: len(sent) >= enough)
            node.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
    with up(data) as (node, http):
        assert recorded(http) >= len(sent) - len(unanswered)
        for delivery in unanswered:
            assert send(http, delivery) == 202
        assert recorded(http) == len(sent)
        stop(node, signal.SIGTERM)


def test_webhooks_are_set_up_looked_at_and_ended_from_the_command_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with up(data) as (node, http):
        assert send(http, made()) == 404
        secret = sendgrid_secret()
        said = ok(data, "webhooks", "add", "sendgrid", "--secret", "-", stdin=secret.encode()).decode()
        assert "/v1/webhooks/sendgrid" in said
        shown = ok(data, "webhooks", "add", "postmark").decode()
        assert "/v1/webhooks/postmark/" in shown
        listed = ok(data, "webhooks", "list").decode()
        assert secret not in listed
        assert shown.split("/")[-1].split(";")[0] not in listed
        assert (data / "webhooks.toml").stat().st_mode & 0o077 == 0
        assert send(http, made()) == 202
        delivery = of_sendgrid([sendgrid_event("levitated"), 3], datetime.now(UTC))
        assert send(http, delivery) == 202
        assert send(http, of_sendgrid({"no": "array"}, datetime.now(UTC))) == 202
        assert recorded(http) == 1
        kinds = json.loads(ok(data, "webhooks", "unknown", "--json"))["kinds"]
        assert {k["kind"] for k in kinds} == {"levitated", "no event"}
        assert "levitated" in ok(data, "dead-letters", "show", kinds[0]["id"]).decode()
        kept = json.loads(ok(data, "webhooks", "unknown", kinds[0]["id"], "--json"))["kept"]
        assert [one["id"] for one in kept] == [kinds[0]["id"]]
        assert kept[0]["id"] in ok(data, "webhooks", "unknown", kinds[0]["id"]).decode()
        (letter,) = json.loads(ok(data, "dead-letters", "list", "--of", "ingest", "--json"))["ingest"]
        assert "is in the queue again" in ok(data, "dead-letters", "retry", letter["id"]).decode()
        assert recorded(http) == 1
        ingest = json.loads(ok(data, "status", "--json"))["ingest"]
        assert (ingest["dead_letters"], ingest["unknown_kinds"], ingest["failure"]) == (1, 2, None)
        for number in range(dead_letters.AT_ONCE):  # one more than go in one request
            assert send(http, of_sendgrid({"no": number}, datetime.now(UTC))) == 202
        assert recorded(http) == 1
        back = json.loads(ok(data, "dead-letters", "retry", "--json"))
        assert Counter(one["status"] for one in back["ingest"]) == {"queued": dead_letters.AT_ONCE + 1}
        assert len({one["id"] for one in back["ingest"]}) == dead_letters.AT_ONCE + 1
        assert recorded(http) == 1
        ingest = json.loads(ok(data, "status", "--json"))["ingest"]
        assert ingest["dead_letters"] == dead_letters.AT_ONCE + 1
        assert "no such provider" in complaint(data, "webhooks", "add", "nobody", "--secret", "long-enough-to-be-one")
        assert "16 printable characters" in complaint(data, "webhooks", "add", "mailgun", "--secret", "short")
        assert "verification key" in complaint(data, "webhooks", "add", "sendgrid", "--secret", "not-a-key-at-all")
        assert "removed 1" in ok(data, "webhooks", "remove", "sendgrid").decode()
        assert send(http, made()) == 404
        stop(node, signal.SIGTERM)


def test_a_file_of_secrets_that_others_can_read_keeps_a_node_from_starting(tmp_path: Path) -> None:
    data = tmp_path / "data"
    taken_by(data, sendgrid=sendgrid_secret())
    (data / "webhooks.toml").chmod(0o644)
    assert "chmod 600" in complaint(data, "status")
    (data / "webhooks.toml").chmod(0o600)
    (data / "webhooks.toml").write_text("[sendgrid]\nsecret = 'x'\n")
    assert "a list `secrets`" in complaint(data, "status")
